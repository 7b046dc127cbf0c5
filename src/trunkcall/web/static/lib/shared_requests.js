/** Several streamed questions over one connection, as a browser opens six to a server at most. */
import { ApiError, open, refusalOf, sendJson } from "./http.js";
import { readEvents } from "./sse.js";
import { t } from "./strings.js";

/**
 * Ask all questions ({path, body}, at most 16) in one request; gives for each a function like `open` of http.js, which
 * gives the answer's Response once its head is in. Aborting one stops its engine; aborting all ends the request.
 */
export function openTogether(questions) {
  const whole = new AbortController();
  const parts = questions.map(() => new Part());
  let left = questions.length;
  const stream = { name: "" };
  const stop = (index) => {
    sendJson("/web/api/ask/stop", { stream: stream.name, part: index }).catch(() => {
      // It has ended meanwhile.
    });
  };
  const leave = (index) => {
    if (parts[index].over) return;
    parts[index].end();
    left -= 1;
    if (left === 0) whole.abort();
    // Where all are left in one go, ending the request is enough.
    else queueMicrotask(() => left > 0 && stream.name && stop(index));
  };
  (async () => {
    try {
      const response = await open("/web/api/ask", { method: "POST", body: { questions }, signal: whole.signal });
      for await (const { event, data } of readEvents(response)) {
        if (!data) continue;
        const told = JSON.parse(data);
        if (event === "stream") {
          stream.name = told.stream;
          parts.forEach((part, index) => part.over && stop(index));
        }
        if (event === "head") parts[told.part].begin(told);
        else if (event === "body") parts[told.part].write(told.text);
        else if (event === "end" && !parts[told.part].over) {
          parts[told.part].end();
          left -= 1;
        }
      }
      for (const part of parts) part.fail(new ApiError(t("error.broke_off"), { kind: "broke_off" }));
    } catch (error) {
      for (const part of parts) part.fail(error);
    }
  })();
  return parts.map((part, index) => async (path, { signal } = {}) => {
    const stopped = () => {
      part.fail(signal.reason);
      leave(index);
    };
    if (signal?.aborted) stopped();
    else signal?.addEventListener("abort", stopped);
    const response = await part.head;
    if (!response.ok) throw await refusalOf(response);
    return response;
  });
}

/** One question's answer on its way. */
class Part {
  constructor() {
    this.over = false;
    this._encoder = new TextEncoder();
    this._body = new ReadableStream({
      start: (controller) => {
        this._controller = controller;
      },
    });
    this.head = new Promise((resolve, reject) => {
      this._resolve = resolve;
      this._reject = reject;
    });
    // Whoever asked hears of it; nobody else is to be bothered.
    this.head.catch(() => {});
  }

  begin({ status, headers }) {
    this._resolve(new Response(this._body, { status, headers }));
  }

  write(text) {
    if (!this.over) this._controller.enqueue(this._encoder.encode(text));
  }

  end() {
    this.over = true;
    try {
      this._controller.close();
    } catch {
      // Its reader has cancelled it.
    }
  }

  fail(error) {
    if (this.over) return;
    this._reject(error);
    try {
      this._controller.error(error);
    } catch {
      // Its reader has cancelled it.
    }
  }
}
