/** What has come of an answer when its page is closed: the database has no time left then, small settings have. */
import { forget, recall, remember } from "../lib/remembered.js";

const nameOf = (id) => `trunkcall.rescue.${id}`;

/** Put aside the text and the reasoning of the answer to a message. */
export function rescue(id, { text, reasoning }) {
  remember(nameOf(id), JSON.stringify({ text, reasoning }));
}

/** What was put aside for a message as {text, reasoning}, once; null for nothing. */
export function rescued(id) {
  const found = recall(nameOf(id));
  forget(nameOf(id));
  return found === null ? null : JSON.parse(found);
}
