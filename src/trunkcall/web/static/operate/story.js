/** What the page reads out of a request's story; pure. */

/** Whether a story is among those that are asked for, as the server decides it. */
export function fits(story, { model, key, error }) {
  return (
    (!model || model === story.model || model === story.asked) &&
    (!key || key === story.key) &&
    (!error || error === story.error || (error === "any" && story.error !== ""))
  );
}

const FURTHEST = { waiting: 0, running: 1, ended: 2 };

/** Both lists without doubles, newest first; of two tellings the one that is further counts, else the later list's. */
export function merged(first, second) {
  const found = new Map(first.map((one) => [one.id, one]));
  for (const one of second) {
    const known = found.get(one.id);
    if (known && FURTHEST[known.state] > FURTHEST[one.state]) continue;
    // What the ledger tells lacks nothing, what memory tells may still grow; an ended one is left the very same.
    if (known && known.state === "ended") continue;
    found.set(one.id, one);
  }
  return [...found.values()].sort((a, b) => b.opened_at - a.opened_at);
}

/** How a request does or ended: {word, kind}; kind: of a badge. */
export function outcome(story) {
  if (story.state !== "ended") return { word: story.state, kind: story.state === "running" ? "good" : "warning" };
  if (story.error === "cancelled") return { word: story.error, kind: "" };
  if (story.error) return { word: story.error, kind: "danger" };
  return { word: story.finish || String(story.status || "ended"), kind: "" };
}

/** The model as a row tells it, with the name that was asked for where that is another. */
export function modelName(story) {
  return story.model && story.asked ? `${story.model} (${story.asked})` : story.model || story.asked;
}

/** Tokens of the answer per second from its first one on; null where that cannot be told. */
export function speed(story) {
  if (story.first_token_ms === null || story.total_ms === null) return null;
  const seconds = (story.total_ms - story.first_token_ms) / 1000;
  return seconds > 0.01 && story.completion_tokens > 1 ? (story.completion_tokens - 1) / seconds : null;
}

/** The parts of a request's time: [{name, ms}] of "queue", "first" (until the first token) and "answer". */
export function parts(story) {
  const total = story.total_ms ?? 0;
  const queue = Math.min(total, story.queue_ms ?? total);
  const first =
    story.first_token_ms === null
      ? story.state === "waiting"
        ? queue
        : total
      : Math.min(total, Math.max(queue, story.first_token_ms));
  return [
    { name: "queue", ms: queue },
    { name: "first", ms: first - queue },
    { name: "answer", ms: total - first },
  ];
}
