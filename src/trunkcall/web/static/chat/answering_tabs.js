/** Which tab of this browser an answer runs in, as tabs tell each other. */

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("trunkcall.answers");
const PATIENCE_MS = 2000;
const ours = new Set();
const heard = new Map();

channel?.addEventListener("message", ({ data }) => {
  if (data.ask && ours.has(data.ask)) channel.postMessage({ mine: data.ask });
  heard.get(data.mine)?.();
});

/** The answer to this message runs here. */
export function claim(id) {
  ours.add(id);
}

/** It has ended. */
export function release(id) {
  ours.delete(id);
}

/** Whether the answer to this message runs in any tab, this one or another. */
export async function runsSomewhere(id) {
  if (ours.has(id)) return true;
  if (channel === null) return false;
  return new Promise((resolve) => {
    const timer = setTimeout(() => settle(false), PATIENCE_MS);
    const settle = (found) => {
      clearTimeout(timer);
      heard.delete(id);
      resolve(found);
    };
    heard.set(id, () => settle(true));
    channel.postMessage({ ask: id });
  });
}
