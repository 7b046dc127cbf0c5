/** Several models that are asked the same at once, each in a column of its own, and the vote on what they said. */
import { askTogether } from "../lib/answer.js";
import { batch, signal } from "../lib/html.js";
import { newId } from "../lib/ids.js";
import { noteAnswer } from "../lib/noting.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";
import { Column } from "./column.js";
import { castVotes } from "./votes.js";

/** As many columns as one request asks and a screen shows. */
export const MOST_COLUMNS = 8;

/**
 * columns: a signal of its Columns; draft: a signal of what is typed, {text, images}; round: a signal of the
 * name of the last question, empty before the first; verdict: a signal of the vote on it, {winner, best},
 * null until there is one; mode: "named", or "anonymous" while the names are hidden.
 */
export class Comparison {
  constructor(columns, { mode = "named", draft = { text: "", images: [] } } = {}) {
    this.mode = mode;
    this.columns = signal(columns);
    this.draft = signal(draft);
    this.round = signal("");
    this.verdict = signal(null);
  }

  /** Whether nothing was asked yet. */
  get isEmpty() {
    return this.round.value === "";
  }

  /** Whether any answer comes. */
  get running() {
    return this.columns.value.some((column) => column.running);
  }

  /** The most turns that a column has. */
  get turns() {
    return Math.max(0, ...this.columns.value.map((column) => column.turns.value.length));
  }

  /** Those that have a turn on the last question. */
  get contenders() {
    return this.columns.value.filter((column) => column.last?.round === this.round.value);
  }

  /** Whether there can be a vote now: "", or why not: "few", "running", "failed". */
  get unready() {
    const answers = this.contenders.map((column) => column.last.answer);
    if (answers.length < 2) return "few";
    if (answers.some((answer) => answer.running)) return "running";
    return answers.some((answer) => answer.state.value === "failed") ? "failed" : "";
  }

  /** Ask all of them something. */
  ask({ text, images }) {
    this.round.value = newId();
    this._ask(this.columns.value.map((column) => ({ column, before: column.turns.value, text, images })));
  }

  /** Ask one of them what the others were asked last. */
  catchUp(column) {
    const { text, images } = this.contenders[0].last;
    this._ask([{ column, before: column.turns.value, text, images }]);
  }

  /** Have the last question answered once more, by these of the columns. */
  regenerate(columns = this.contenders) {
    for (const column of columns) column.stop();
    this._ask(
      columns.map((column) => ({
        column,
        before: column.turns.value.slice(0, -1),
        ...questionOf(column.last),
      })),
    );
  }

  /** Stop all answers that come. */
  stop() {
    for (const column of this.columns.value) column.stop();
  }

  /** Begin anew with the same models and settings. */
  clear() {
    this.stop();
    batch(() => {
      this.columns.value = this.columns.value.map((column) => new Column(column.settings.value));
      this.round.value = "";
      this.verdict.value = null;
    });
  }

  /** One more column, at the end. */
  add(column) {
    this.columns.value = [...this.columns.value, column];
  }

  /** One column less; what it is asked now stops. */
  remove(column) {
    column.stop();
    this.columns.value = this.columns.value.filter((other) => other !== column);
  }

  /**
   * Vote. winner: "left", "right", "tie" or "bothbad" on two columns; "left" of more than two is that `best`
   * is better than each of the others, a vote for every pair.
   */
  vote(winner, best = null) {
    const contenders = this.contenders;
    const pairs = best
      ? contenders.filter((other) => other !== best).map((other) => [best, other])
      : [contenders];
    this.verdict.value = { winner, best };
    return castVotes(winner, pairs, this.mode);
  }

  _ask(entries) {
    const turns = entries.map(({ text, images }) => ({
      id: newId(),
      round: this.round.value,
      text,
      images,
      at: Date.now(),
    }));
    const answers = askTogether(
      entries.map(({ column, before }, index) => column.question(before, turns[index])),
    );
    batch(() => {
      this.verdict.value = null;
      for (const [index, { column, before }] of entries.entries()) {
        const turn = { ...turns[index], answer: answers[index], asked: column.settings.value };
        column.turns.value = [...before, turn];
        this._note(column, turn);
      }
    });
  }

  async _note(column, turn) {
    await turn.answer.ended;
    if (!turn.answer.text.value || !column.turns.value.includes(turn)) return;
    try {
      await noteAnswer(column.note(turn, this.mode));
    } catch (error) {
      notify(t("compare.note_failed", { why: error.message }), { kind: "error" });
    }
  }
}

const questionOf = ({ text, images }) => ({ text, images });
