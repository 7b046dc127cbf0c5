/** What the command palette offers: entries that pages put in while shown, and their order by what is typed. */
import { signal } from "./html.js";

/** Whether the palette is open. */
export const paletteOpen = signal(false);

/**
 * All sources of entries, in the order in which they came; each is a function that gives a list, so that what it
 * offers may change while the palette is open.
 */
export const offers = signal([]);

/**
 * Offer entries: one {id, label, run, group, hint, keys}, a list of them, or a function that gives a list. run: does
 * it, after the palette was closed; group: the heading it stands under; hint: a faint word beside it; keys: its
 * shortcut, as shown. Gives how to withdraw them.
 */
export function offer(entries) {
  const give = typeof entries === "function" ? entries : () => [entries].flat();
  offers.value = [...offers.value, give];
  return () => {
    offers.value = offers.value.filter((other) => other !== give);
  };
}

/** Everything that is offered now; of two with the same id the later one. */
export function offered() {
  const found = new Map();
  for (const give of offers.value) for (const entry of give()) found.set(entry.id, entry);
  return [...found.values()];
}

/**
 * The entries that fit what is typed, best first: all words must appear in label, group or hint; a label that begins
 * with it comes first, then one with a word that does, then the rest; in the given order among equals.
 */
export function ranked(entries, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return entries;
  return entries
    .map((entry, at) => ({ entry, at, score: score(entry, words) }))
    .filter((found) => found.score > 0)
    .sort((a, b) => b.score - a.score || a.at - b.at)
    .map((found) => found.entry);
}

function score({ label, group = "", hint = "" }, words) {
  const name = label.toLowerCase();
  const rest = `${group} ${hint}`.toLowerCase();
  let total = 0;
  for (const word of words) {
    if (name.startsWith(word)) total += 8;
    else if (name.split(/[^\p{L}\p{N}]+/u).some((part) => part.startsWith(word))) total += 4;
    else if (name.includes(word)) total += 2;
    else if (rest.includes(word)) total += 1;
    else return 0;
  }
  return total;
}
