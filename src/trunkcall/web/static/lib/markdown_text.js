/** Text as nodes, with characters made visible that would let it read otherwise than it is. */

const TURNS = /([\u202a-\u202e\u2066-\u2069]+)/;
const MOST_NAMED = 4;

/** At least one node; characters that turn the direction of writing stand in elements that name them. */
export function textNodes(text) {
  const shown = text.replaceAll("\0", "\ufffd");
  if (!TURNS.test(shown)) return [document.createTextNode(shown)];
  return shown
    .split(TURNS)
    .filter(Boolean)
    .map((part) => (TURNS.test(part) ? turn(part) : document.createTextNode(part)));
}

function turn(characters) {
  const mark = document.createElement("bdi");
  mark.className = "turn";
  const names = [...characters.slice(0, MOST_NAMED)].map((one) => `U+${one.charCodeAt(0).toString(16).toUpperCase()}`);
  mark.dataset.name = names.join(" ") + (characters.length > MOST_NAMED ? " …" : "");
  mark.textContent = characters;
  return mark;
}
