/** Character references of HTML (&hellip; &#8230;) as the characters that they name. */
import { charactersOf } from "./trusted.js";

const REFERENCE = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));/g;
const MOST_KNOWN = 5000;
const known = new Map();

/** The text with its references decoded; unknown ones stay as they are. */
export function decoded(text) {
  if (!text.includes("&")) return text;
  return text.replace(REFERENCE, (whole, decimal, hexadecimal, name) => {
    if (name) return named(whole);
    const point = decimal ? Number(decimal) : Number.parseInt(hexadecimal, 16);
    const isCharacter = point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
    return isCharacter ? String.fromCodePoint(point) : "\ufffd";
  });
}

function named(reference) {
  if (!known.has(reference)) {
    if (known.size >= MOST_KNOWN) known.clear();
    known.set(reference, charactersOf(reference));
  }
  return known.get(reference);
}
