/** Code in colours, by a worker that is started with the first code block and ended when it takes too long. */
import { highlightingWorker } from "./trusted.js";

const LONGEST = 100_000;
const LIMIT_MS = 3000;
/** Milliseconds in which the worker's own scripts have to come: a slow line is no slow text. */
const START_MS = 30_000;

let worker = null;
let started = false;
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
    if (worker === null) {
      worker = highlightingWorker();
      started = false;
    }
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
    let timer = setTimeout(giveUp, started ? LIMIT_MS : START_MS);
    asked.onerror = giveUp;
    asked.onmessage = ({ data }) => {
      if (data.started) {
        started = true;
        clearTimeout(timer);
        timer = setTimeout(giveUp, LIMIT_MS);
      } else if (data.id === id) settle(data.parts);
    };
    asked.postMessage({ id, text, language });
  });
}
