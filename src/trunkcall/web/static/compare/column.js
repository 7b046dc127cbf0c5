/** One column of a comparison: a model with its settings, and what was asked of it so far. */
import { recordOf } from "../lib/answer.js";
import { askedOf, fresh, withMessage } from "../lib/conversation.js";
import { signal } from "../lib/html.js";
import { newId } from "../lib/ids.js";
import { modelOf } from "../lib/models.js";
import { noteOf } from "../lib/noting.js";
import { session } from "../lib/session.js";

/**
 * id: also that of its conversation; settings: a signal of {model, system, template, parameters}; turns: a
 * signal of [{id, round, text, images, at, answer, asked}], first to last; round: which question of the
 * comparison it is; asked: the settings at that time.
 */
export class Column {
  constructor({ model, system = "", template = "", parameters = session.value.parameters }) {
    this.id = newId();
    this.settings = signal({ model, system, template, parameters });
    this.turns = signal([]);
  }

  /** The name of the model that is asked next. */
  get model() {
    return this.settings.value.model;
  }

  /** The turn that came last; undefined before the first. */
  get last() {
    return this.turns.value.at(-1);
  }

  /** Whether an answer comes. */
  get running() {
    return this.last?.answer.running ?? false;
  }

  /** Change some of the settings. */
  settle(settings) {
    this.settings.value = { ...this.settings.value, ...settings };
  }

  /** Stop the answer that comes; settles when it has ended. */
  stop() {
    this.last?.answer.stop();
    return this.last?.answer.ended;
  }

  /** What is asked of the model for a new turn after these, as requestOf takes it. */
  question(before, turn) {
    const { model, system, template, parameters } = this.settings.value;
    const images = modelOf(model)?.images !== false;
    return {
      model,
      system,
      template,
      parameters,
      messages: askedOf(this.conversation([...before, turn]), turn.id, { images }),
    };
  }

  /** A turn with all before it as the server notes it. mode: "named" or "anonymous". */
  note(turn, mode) {
    const turns = this.turns.value.slice(0, this.turns.value.indexOf(turn) + 1);
    const messages = askedOf(this.conversation(turns), answerId(turn));
    const { model, system, template, parameters } = turn.asked;
    const finish = turn.at + (turn.answer.figures.value.totalMs ?? 0);
    return noteOf(
      { id: this.id, model, messages, system, template, parameters, start: turn.at, finish },
      mode,
    );
  }

  /** Turns as a conversation like those of the page Chat. */
  conversation(turns = this.turns.value, id = this.id) {
    let data = fresh({ id, at: turns[0]?.at ?? Date.now(), ...this.settings.value });
    let parent = "";
    for (const turn of turns) {
      const { text, images, at, answer } = turn;
      data = withMessage(data, { id: turn.id, parent, role: "user", at, text, images });
      parent = turn.id;
      if (!answer) continue;
      data = withMessage(data, {
        id: answerId(turn),
        parent,
        role: "assistant",
        at: at + 1,
        model: turn.asked.model,
        settings: turn.asked,
        ...recordOf(answer),
      });
      parent = answerId(turn);
    }
    return data;
  }
}

const answerId = (turn) => `${turn.id}-answer`;
