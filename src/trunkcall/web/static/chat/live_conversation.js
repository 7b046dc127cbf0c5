/** A conversation that is open: what its reader does with it, the answers that run in it, and that it is kept. */
import { Answer, recordOf } from "../lib/answer.js";
import {
  askedOf,
  branchedTo,
  isRunning,
  merged,
  shown,
  withChange,
  withMessage,
  withSettings,
  withTitle,
} from "../lib/conversation.js";
import { batch, signal } from "../lib/html.js";
import { newId } from "../lib/ids.js";
import { modelOf } from "../lib/models.js";
import { noteAnswer, noteOf, noteVote } from "../lib/noting.js";
import { amend, one } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";
import { claim, release, runsSomewhere } from "./answering_tabs.js";
import { rescue, rescued } from "./rescue.js";

const STORE = "conversations";
/** An answer is kept so often while it comes. */
const KEPT_EVERY_MS = 2000;
const LOOK_EVERY_MS = 5000;
/** So many of the last answers keep their request and events, for developers. */
const MOST_SOURCES = 20;

/**
 * data: the conversation, as a signal; answers: a signal of {id of a message: Answer} for those that run here; draft:
 * what is typed, {text, images}; gone: it was deleted, here or in another tab; sources: {id: {request, frames}} of
 * answers that were given while the page is open. onKept(data): it was kept so.
 */
export class LiveConversation {
  constructor(data, { kept = false, onKept }) {
    this.id = data.id;
    this.data = signal(data);
    this.answers = signal({});
    this.draft = signal({ text: "", images: [] });
    this.gone = signal(false);
    this.sources = new Map();
    this._kept = kept;
    this._onKept = onKept;
    this._keeping = Promise.resolve();
    this._timer = 0;
    this._looking = false;
    if (kept) this._lookAfterOrphans();
  }

  /** Whether anything was said in it. */
  get isEmpty() {
    return Object.keys(this.data.value.messages).length === 0;
  }

  /** Whether an answer comes, here. */
  get isAnswering() {
    return Object.keys(this.answers.value).length > 0;
  }

  /** Ask something after the message that is shown last. */
  ask(model, text, images = []) {
    this._ask(model, shown(this.data.value).at(-1)?.id ?? "", text, images);
  }

  /** Ask a question in other words, in a branch of its own. */
  askAgain(model, id, text, images) {
    this._ask(model, this.data.value.messages[id].parent, text, images);
  }

  _ask(model, parent, text, images) {
    const question = { id: newId(), parent, role: "user", at: Date.now(), text, images };
    this.data.value = withMessage(this.data.value, question);
    this.answer(model, question.id);
  }

  /** Have a question answered, once more if it was already. */
  answer(model, question) {
    const message = {
      id: newId(),
      parent: question,
      role: "assistant",
      // After its question, and after all others to it, also where all of it takes no time.
      at: Date.now() + 1,
      model,
      text: "",
      state: "waiting",
    };
    this.data.value = withMessage(this.data.value, message);
    this._run(message, "", "");
  }

  /** Have an answer gone on with. */
  goOn(model, id) {
    const { text, reasoning } = this.data.value.messages[id];
    this._change(id, { state: "waiting", error: null, finish: "", model });
    this._run(this.data.value.messages[id], text, reasoning ?? "");
  }

  /** Put other words into the model's mouth, in a branch of its own; gives its id. */
  reword(id, text) {
    const { parent, model } = this.data.value.messages[id];
    const message = { id: newId(), parent, role: "assistant", at: Date.now(), model, text, state: "done" };
    this.data.value = withMessage(this.data.value, message);
    this.keep();
    return message.id;
  }

  /** Show the branch of a message. */
  show(id) {
    this.data.value = branchedTo(this.data.value, id);
    this.keep();
  }

  /** Change some of model, system, template, parameters. */
  settle(settings) {
    this.data.value = withSettings(this.data.value, settings, Date.now());
    if (!this.isEmpty) this.keepSoon();
  }

  /** Give it another title. */
  rename(title) {
    this.data.value = withTitle(this.data.value, title, Date.now());
    this.keep();
  }

  /** Stop all that runs in it. */
  stop() {
    for (const answer of Object.values(this.answers.value)) answer.stop();
  }

  /** Vote for an answer, against it, or flag it. */
  async vote(id, vote) {
    this._change(id, { vote });
    this.keep();
    try {
      await noteVote(vote, [this._noteOf(id)]);
    } catch (error) {
      this._change(id, { vote: "" });
      this.keep();
      notify(t("chat.vote_failed", { why: error.message }), { kind: "error" });
    }
  }

  /** The page is closed: what has come is put aside, for when it is opened again. */
  putAside() {
    for (const [id, answer] of Object.entries(this.answers.value)) {
      answer.show();
      rescue(id, recordOf(answer));
    }
  }

  /** It is deleted: nothing is kept from now on. */
  leave() {
    this.gone.value = true;
    clearTimeout(this._timer);
    this.stop();
  }

  /** Take up what another tab has kept. */
  async follow() {
    const kept = await one(STORE, this.id);
    if (kept === null) return;
    if (kept === undefined) {
      if (this._kept) this.leave();
      return;
    }
    this._take(kept);
  }

  /** Keep it as it is now, together with what other tabs have kept of it. */
  keep() {
    clearTimeout(this._timer);
    this._timer = 0;
    if (this.gone.value || this.isEmpty) return this._keeping;
    this._keeping = this._keeping.then(async () => {
      if (this.gone.value) return;
      const ours = this._now();
      const there = this._kept;
      const kept = await amend(STORE, this.id, (theirs) => {
        if (theirs === undefined) return there ? undefined : ours;
        if (theirs === null) return ours;
        return merged(ours, theirs);
      });
      // Another tab has deleted it meanwhile.
      if (kept === undefined) this.leave();
      else {
        this._kept = true;
        this._onKept(kept);
        this._take(kept);
      }
    });
    return this._keeping;
  }

  /** Keep it in a while, for what changes often. */
  keepSoon() {
    this._timer ||= setTimeout(() => this.keep(), KEPT_EVERY_MS);
  }

  _change(id, fields) {
    this.data.value = withChange(this.data.value, id, fields, Date.now());
  }

  async _run(message, text, reasoning) {
    const { id, parent, model } = message;
    const data = this.data.value;
    const { system, template, parameters } = data;
    const asked = {
      model,
      system,
      messages: askedOf(data, text ? id : parent, { images: modelOf(model)?.images !== false }),
      parameters,
      template,
      continues: text !== "",
    };
    claim(id);
    const start = Date.now();
    const answer = new Answer(asked, text, null, reasoning);
    this.answers.value = { ...this.answers.value, [id]: answer };
    this.keep();
    const timer = setInterval(() => this.keep(), KEPT_EVERY_MS);
    await answer.ended;
    clearInterval(timer);
    release(id);
    this._remember(id, answer);
    batch(() => {
      const { [id]: _, ...rest } = this.answers.value;
      this._change(id, { ...recordOf(answer), start, ended: Date.now(), settings: { system, template, parameters } });
      this.answers.value = rest;
    });
    this.keep();
    if (this.gone.value || !answer.text.value) return;
    try {
      await noteAnswer(this._noteOf(id));
    } catch (error) {
      notify(t("chat.note_failed", { why: error.message }), { kind: "error" });
    }
  }

  _remember(id, { request, frames }) {
    this.sources.set(id, { request, frames });
    if (this.sources.size > MOST_SOURCES) this.sources.delete(this.sources.keys().next().value);
  }

  _noteOf(id) {
    const data = this.data.value;
    const { at, model, start = at, ended: finish = at, settings = data } = data.messages[id];
    const { system, template, parameters } = settings;
    const messages = askedOf(data, id);
    return noteOf({ id: this.id, model, messages, system, template, parameters, start, finish }, "single");
  }

  /** The conversation with what has come so far of the answers that run. */
  _now() {
    let data = this.data.value;
    for (const [id, answer] of Object.entries(this.answers.value)) {
      answer.show();
      data = withChange(data, id, recordOf(answer), Date.now());
    }
    return data;
  }

  _take(kept) {
    // What runs here is known better here.
    const others = Object.fromEntries(Object.entries(kept.messages).filter(([id]) => !(id in this.answers.value)));
    this.data.value = merged(this.data.value, { ...kept, messages: others });
    this._lookAfterOrphans();
  }

  _isElsewhere(message) {
    return isRunning(message) && !(message.id in this.answers.value);
  }

  /** What seems to run but does so in no tab has broken off, with the tab that it ran in. */
  async _lookAfterOrphans() {
    if (this._looking) return;
    this._looking = true;
    for (;;) {
      const open = Object.values(this.data.value.messages).filter((one) => this._isElsewhere(one));
      if (!open.length || this.gone.value) break;
      for (const { id } of open) {
        if (await runsSomewhere(id)) continue;
        if (!this._isElsewhere(this.data.value.messages[id])) continue;
        this._change(id, { ...rescued(id), state: "failed", error: { message: t("chat.left"), kind: "broke_off" } });
        this.keep();
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    this._looking = false;
  }
}
