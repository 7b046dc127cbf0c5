/** Work that is done bit by bit in turns of a few milliseconds, between which the page gets its own. */

/** Milliseconds of one turn. */
const TURN_MS = 8;
/** Between two turns passes so many times what the last one took, if that was long. */
const REST = 3;

/** step(): do a bit, gives whether more can be done at once. */
export class Turns {
  constructor(step) {
    this._step = step;
    this._urgent = false;
    this._frame = 0;
    this._rested = 0;
    this._until = 0;
  }

  /** Whether the turn that runs has time left. */
  get isOn() {
    return performance.now() < this._until;
  }

  /** Take a turn, and more in later frames while something is left to do; urgent: without rest. */
  plan(urgent) {
    this._urgent = urgent;
    if (urgent || performance.now() >= this._rested) this._turn();
    else this._later();
  }

  /** Take none any more. */
  end() {
    cancelAnimationFrame(this._frame);
  }

  _later() {
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this.plan(this._urgent);
    });
  }

  _turn() {
    const began = performance.now();
    this._until = began + TURN_MS;
    let more = true;
    while (more && this.isOn) more = this._step();
    const took = performance.now() - began;
    this._rested = took > TURN_MS / 2 ? began + took * (1 + REST) : 0;
    if (more) this._later();
  }
}
