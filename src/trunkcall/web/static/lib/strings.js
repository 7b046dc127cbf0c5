/** Texts by their names, so that another language is another table. */
import { ENGLISH } from "../strings_en.js";

/** The text of a name, with {placeholders} filled in; `count` chooses between "one thing | {count} things". */
export function t(name, values = {}) {
  let text = ENGLISH[name];
  if (text === undefined) return name;
  if (values.count !== undefined && text.includes(" | ")) text = text.split(" | ")[values.count === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (whole, word) => (values[word] === undefined ? whole : String(values[word])));
}
