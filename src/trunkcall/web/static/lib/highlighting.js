/** Code in colours, by a worker that is started with the first code block and ended when it takes too long. */
import { highlightingWorker } from "./trusted.js";

const LONGEST = 100_000;
const LIMIT_MS = 3000;

let worker = null;
let count = 0;
let turn = Promise.resolve();

/**
 * The text's parts in order, [[scope, text], …], scope "" for plain ones; null for an unknown language and for what is
 * too long or takes too long. One text is worked on at a time.
 */
export function highlighted(text, language) {
  if (!language || text.length > LONGEST) return Promise.resolve(null);
  // A browser that allows no workers shows plain code.
  turn = turn.then(() => ask(text, language)).catch(() => null);
  return turn;
}

function ask(text, language) {
  return new Promise((resolve) => {
    worker ??= highlightingWorker();
    const asked = worker;
    const id = (count += 1);
    const settle = (parts) => {
      clearTimeout(timer);
      asked.onmessage = asked.onerror = null;
      resolve(parts);
    };
    const giveUp = () => {
      asked.terminate();
      worker = null;
      settle(null);
    };
    const timer = setTimeout(giveUp, LIMIT_MS);
    asked.onerror = giveUp;
    asked.onmessage = (event) => event.data.id === id && settle(event.data.parts);
    asked.postMessage({ id, text, language });
  });
}
