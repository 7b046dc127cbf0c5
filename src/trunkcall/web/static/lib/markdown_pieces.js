/** Long text in pieces, so that what is added lays out the last of them only. */
import { textNodes } from "./markdown_text.js";

const FULL = 2000;
const LONGEST = 4000;

/** Fills an element with blocks of text; `append` and `appendScoped` may be called often. */
export class Pieces {
  constructor(element) {
    this._element = element;
    this._piece = null;
    this._length = 0;
  }

  /** Add text; scope: the name of its colour, if any. */
  append(text, scope = "") {
    let at = 0;
    while (at < text.length) {
      const room = this._piece === null ? 0 : LONGEST - this._length;
      if (room <= 0) {
        this._begin();
        continue;
      }
      const end = this._cut(text, at, room);
      this._add(text.slice(at, end), scope);
      at = end;
      if (this._length >= FULL && text[end - 1] === "\n") this._piece = null;
    }
  }

  _begin() {
    this._piece = document.createElement("span");
    this._piece.className = "piece";
    this._length = 0;
    this._element.append(this._piece);
  }

  /** Where the piece ends: behind the first end of a line once it is full, else at a space, else anywhere. */
  _cut(text, at, room) {
    const line = text.indexOf("\n", at + Math.max(0, FULL - this._length - 1));
    if (line >= 0 && line - at < room) return line + 1;
    if (text.length - at <= room) return text.length;
    const limit = at + room;
    const space = text.lastIndexOf(" ", limit - 1);
    if (space > limit - 200 && space > at) return space + 1;
    const isPair = /[\ud800-\udbff]/.test(text[limit - 1]);
    return isPair && limit - 1 > at ? limit - 1 : limit;
  }

  _add(text, scope) {
    this._length += text.length;
    const last = this._piece.lastChild;
    const nodes = textNodes(text);
    if (scope) {
      const span = document.createElement("span");
      span.className = `hl-${scope}`;
      span.append(...nodes);
      this._piece.append(span);
    } else if (last?.nodeType === Node.TEXT_NODE && nodes[0].nodeType === Node.TEXT_NODE) {
      last.appendData(nodes[0].data);
      this._piece.append(...nodes.slice(1));
    } else {
      this._piece.append(...nodes);
    }
  }
}
