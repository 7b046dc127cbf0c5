/** Server-sent events of a response as they come, with comments, which EventSource hides. */

const LONGEST = 16 * 1024 * 1024;

/**
 * Read a response's body as events: {event, data, comment}, each a text; comment is that of a comment line.
 * Raises Error for an event over 16 MB, and what reading raises.
 */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  let found = { event: "message", data: [] };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += value;
      const lines = held.split(/\r\n|\n|\r(?!$)/);
      held = lines.pop();
      if (held.length > LONGEST) throw new Error("an event of the stream is too long");
      for (const line of lines) {
        if (line === "") {
          if (found.data.length) yield { event: found.event, data: found.data.join("\n"), comment: "" };
          found = { event: "message", data: [] };
        } else if (line[0] === ":") {
          yield { event: "", data: "", comment: line.slice(1).trim() };
        } else {
          const at = line.indexOf(":");
          const name = at < 0 ? line : line.slice(0, at);
          const text = at < 0 ? "" : line.slice(line[at + 1] === " " ? at + 2 : at + 1);
          if (name === "data") found.data.push(text);
          else if (name === "event") found.event = text;
        }
      }
    }
  } finally {
    // Whoever stops reading ends the server's work.
    await reader.cancel().catch(() => {});
  }
}
