/** How long after a look the next one is taken: not too often, and for no more than a share of the time. */

export class Pace {
  /** every: milliseconds at least between two looks; share: so many times what looking took, where that is longer. */
  constructor(every, share) {
    this._every = every;
    this._share = share;
    this._before = 0;
  }

  /** Milliseconds until the next look, after one that took so many. One slow look alone, as of a machine that stood
   * still, counts for nothing. */
  after(took) {
    const slow = Math.min(took, this._before);
    this._before = took;
    return Math.max(this._every, this._share * slow);
  }
}
