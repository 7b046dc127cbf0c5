/** One answer while it comes: its text, its state and its figures as signals, drawn at most once per frame. */
import { Signal, batch, signal } from "./html.js";
import { requestOf } from "./chat_request.js";
import { streamAnswer } from "./chat_stream.js";
import { openTogether } from "./shared_requests.js";

/** Of what came all at once no speed can be told. */
const LEAST_SECONDS = 0.05;
/** So many of the last raw events are kept at least. */
const MOST_FRAMES = 2000;

/**
 * Begin to ask; gives the answer at once, its `ended` promise settles when all of it is there (never rejects).
 * asked: as requestOf takes it; given: the text that the answer continues; prepared: a promise of {request, open} for
 * one that is asked together with others, as askTogether makes it; thought: the reasoning before the text it continues.
 *
 * state: "waiting" (nothing yet) | "streaming" | "done" | "stopped" (by its reader) | "failed"; note: what the server
 * says while it waits; error: ApiError or null; toolCalls: [{id, name, arguments}]; figures: {prompt, completion,
 * cached, firstMs, totalMs, perSecond, estimated}, null for what is not known; frames: the last raw events, for
 * developers.
 */
export class Answer {
  constructor(asked, given = "", prepared = null, thought = "") {
    this.asked = asked;
    this.text = signal(given);
    this.reasoning = signal(thought);
    this.toolCalls = signal([]);
    this.state = signal("waiting");
    this.note = signal("");
    this.error = signal(null);
    this.finish = signal("");
    this.figures = signal({});
    this.requestId = "";
    this.servedBy = "";
    this.dropped = [];
    this.resumed = "";
    this.frames = [];
    this.request = null;
    this.started = new Date();
    this._prepared = prepared;
    this._abort = new AbortController();
    this._text = "";
    this._reasoning = "";
    this._frame = 0;
    this.ended = this._run();
  }

  /** Whether more may come. */
  get running() {
    return this.state.value === "waiting" || this.state.value === "streaming";
  }

  /** Stop it; the engine stops too. */
  stop() {
    this._abort.abort();
  }

  async _run() {
    const began = performance.now();
    let first = null;
    let pieces = 0;
    let usage = null;
    let last = "done";
    let failure = null;
    try {
      const found = await this._prepared;
      this.request = found?.request ?? (await requestOf(this.asked, { signal: this._abort.signal }));
      for await (const event of streamAnswer(this.request, this._abort.signal, found?.open)) {
        if (event.type === "text" || event.type === "reasoning" || event.type === "tool") {
          if (first === null) {
            first = performance.now();
            batch(() => {
              this.state.value = "streaming";
              this.note.value = "";
            });
          }
          pieces += 1;
        }
        if (event.type === "usage") usage = event;
        else this._take(event);
      }
    } catch (error) {
      last = error.name === "AbortError" ? "stopped" : "failed";
      failure = last === "failed" ? error : null;
    }
    const end = performance.now();
    batch(() => {
      this.show();
      this.note.value = "";
      this.error.value = failure;
      this.state.value = last;
      const completion = usage?.completion ?? (pieces || null);
      const writing = first === null ? 0 : (end - first) / 1000;
      this.figures.value = {
        prompt: usage?.prompt ?? null,
        completion,
        cached: usage?.cached ?? null,
        firstMs: first === null ? null : first - began,
        totalMs: end - began,
        perSecond: completion > 1 && writing >= LEAST_SECONDS ? (completion - 1) / writing : null,
        estimated: usage === null,
      };
    });
    return this;
  }

  _take(event) {
    switch (event.type) {
      case "head":
        this.requestId = event.requestId;
        this.servedBy = event.model;
        this.dropped = event.dropped;
        return;
      case "note":
        this.note.value = event.text;
        return;
      case "resumed":
        this.resumed = event.how;
        return;
      case "raw":
        this.frames.push(event.data);
        if (this.frames.length > 2 * MOST_FRAMES) this.frames.splice(0, MOST_FRAMES);
        return;
      case "finish":
        this.finish.value = event.reason;
        return;
      case "tool": {
        const calls = [...this.toolCalls.value];
        const known = calls[event.index] ?? { id: "", name: "", arguments: "" };
        calls[event.index] = {
          id: known.id || event.id,
          name: known.name || event.name,
          arguments: known.arguments + event.arguments,
        };
        this.toolCalls.value = calls;
        return;
      }
      default:
        if (event.type === "text") this._text += event.text;
        else this._reasoning += event.text;
        this._frame ||= requestAnimationFrame(() => this.show());
    }
  }

  /** Bring what has come into its signals now; a page that is out of sight has no frames that would. */
  show() {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    batch(() => {
      if (this._text) this.text.value += this._text;
      if (this._reasoning) this.reasoning.value += this._reasoning;
      this._text = this._reasoning = "";
    });
  }
}

/** Begin to ask several at once, over one connection; gives their Answers. each: as requestOf takes it. */
export function askTogether(each) {
  const preparing = each.map((asked) => requestOf(asked));
  const ready = (async () => {
    // One that cannot even be asked fails alone.
    const settled = await Promise.allSettled(preparing);
    const requests = settled.filter((one) => one.status === "fulfilled").map((one) => one.value);
    const openers = requests.length ? openTogether(requests) : [];
    return new Map(requests.map((request, index) => [request, openers[index]]));
  })();
  const prepared = async (preparation) => {
    const request = await preparation;
    return { request, open: (await ready).get(request) };
  };
  return each.map((asked, index) => new Answer(asked, "", prepared(preparing[index])));
}

/** The value that something of an answer has now, be it a signal of one that comes or plain in one that is kept. */
export const now = (held) => (held instanceof Signal ? held.value : held);

/** An answer as it is now, without signals: what is kept of it, and shown by the same components. */
export function recordOf(answer) {
  const error = now(answer.error);
  return {
    text: now(answer.text),
    reasoning: now(answer.reasoning),
    toolCalls: now(answer.toolCalls),
    state: now(answer.state),
    error: error && {
      message: error.message,
      status: error.status ?? 0,
      kind: error.kind ?? "",
      retryAfter: error.retryAfter ?? null,
      requestId: error.requestId ?? "",
    },
    finish: now(answer.finish),
    figures: now(answer.figures),
    requestId: answer.requestId,
    servedBy: answer.servedBy,
    dropped: answer.dropped,
    resumed: answer.resumed,
  };
}
