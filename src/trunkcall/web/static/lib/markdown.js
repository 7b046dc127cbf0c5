/** Markdown in a place of the page, while it grows: finished blocks are drawn once, only the last is read again. */
import { colour, emptyCodeBlock } from "./markdown_code.js";
import { completed } from "./markdown_growing.js";
import { Intake } from "./markdown_intake.js";
import { LONGEST_PARAGRAPH, lexed, unreadable } from "./markdown_lexer.js";
import { MarkdownNodes } from "./markdown_nodes.js";
import { patch } from "./markdown_patch.js";
import { Pieces } from "./markdown_pieces.js";
import { textNodes } from "./markdown_text.js";
import { Turns } from "./turns.js";

/** Characters that are read at once, and that a block may have before it is shown as plain text. */
const SLICE = 4_000;
const LONGEST_BLOCK = 256_000;
/** Characters from which on the items and rows before the last one are finished, too. */
const LONG_LIST = 1_500;
/** Items or rows of one element, blocks and characters of one part: an addition lays so much out again. */
const MOST_ITEMS = 150;
const MOST_BLOCKS = 150;
const PART = 6_000;
const GROWTH = 64_000;
const MOST_REFERRING = 1_000;

const FENCE = /( {0,3})(?:(`{3,})([^`\n]*)|(~{3,})([^\n]*))(\n|$)/y;
const BLANK = /(?:[ \t]*\n)+/y;
const MAY_REFER = /\[[^\]]{1,200}\](?![(:])/;

/** Shows Markdown in an element that is its own. */
export class MarkdownView {
  constructor(root) {
    this._root = root;
    this._turns = new Turns(() => this._step());
    this._shown = "";
    this._streaming = true;
    this._clear();
  }

  /** Show a text; streaming: it still grows. What is more than a moment's work goes on in later frames. */
  show(text, streaming) {
    const isOver = !this._streaming;
    if (isOver && text === this._shown) return;
    if (isOver || !this._intake.take(text, !streaming)) {
      this._clear();
      this._intake.take(text, !streaming);
    }
    this._shown = text;
    this._streaming = streaming;
    this._turns.plan(!streaming);
  }

  /** Nothing is shown any more. */
  close() {
    this._turns.end();
  }

  _clear() {
    this._root.replaceChildren();
    this._at = 0;
    this._intake = new Intake();
    // Blocks stand in parts, of which those out of sight are not laid out; the last one grows.
    this._part = null;
    this._beginPart();
    this._want = SLICE;
    this._links = Object.create(null);
    // Finished blocks that a definition further down may change: {source, node}.
    this._referring = [];
    // The list or table whose last part is read again: {kind, parent, done, prefix, loose}.
    this._inside = null;
    // The code or plain text that grows: {kind, figure, pieces, end, from, indent}.
    this._open = null;
  }

  _beginPart() {
    if (this._part !== null) {
      patch(this._part, this._done, document.createDocumentFragment());
      const height = this._part.offsetHeight;
      if (height) this._part.style.containIntrinsicBlockSize = `auto ${height}px`;
      this._part.classList.add("full");
    }
    this._part = document.createElement("div");
    this._part.className = "part";
    this._root.append(this._part);
    // The last finished node of the part; what stands behind it is read again.
    this._done = null;
    this._partFrom = this._at;
  }

  get _isPartFull() {
    return this._at - this._partFrom > PART || this._part.childElementCount > MOST_BLOCKS;
  }

  get _text() {
    return this._intake.text;
  }

  /** Show a bit more; gives whether more can be shown at once. */
  _step() {
    if (this._open !== null) return this._grow();
    if (this._inside === null) {
      BLANK.lastIndex = this._at;
      if (BLANK.test(this._text)) this._at = BLANK.lastIndex;
      if (this._fence()) return true;
    }
    if (this._at < this._text.length) return this._blocks();
    this._clearTail();
    return false;
  }

  _clearTail() {
    const { parent, done } = this._inside ?? { parent: this._part, done: this._done };
    patch(parent, done, document.createDocumentFragment());
  }

  _fence() {
    FENCE.lastIndex = this._at;
    const found = FENCE.exec(this._text);
    if (found === null || (found[6] === "" && this._streaming)) return false;
    const mark = found[2] ?? found[4];
    const { figure, pieces } = emptyCodeBlock(found[3] ?? found[5]);
    const end = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*(?:\\n|$)`, "gm");
    this._at = FENCE.lastIndex;
    this._begin(figure, { kind: "code", figure, pieces, end, from: this._at, indent: found[1].length });
    return true;
  }

  _plain() {
    const block = document.createElement("div");
    block.className = "plain";
    this._clearTail();
    this._inside = null;
    this._begin(block, { kind: "plain", pieces: new Pieces(block), end: /\n[ \t]*\n/g, from: this._at, indent: 0 });
    return true;
  }

  _begin(node, open) {
    if (this._isPartFull) this._beginPart();
    patch(this._part, this._done, document.createDocumentFragment());
    this._part.append(node);
    this._done = node;
    this._open = open;
  }

  /** More of the open code or plain text. */
  _grow() {
    const { kind, figure, pieces, end, from, indent } = this._open;
    const text = this._text;
    // What ends a plain text may have begun in what is shown already.
    end.lastIndex = kind === "code" ? this._at : Math.max(from, this._at - 100);
    let found = end.exec(text);
    if (found && this._streaming && end.lastIndex === text.length && !found[0].endsWith("\n")) found = null;
    let until = found ? Math.max(this._at, found.index) : text.length;
    const isCut = until - this._at > GROWTH;
    if (isCut) {
      const line = text.lastIndexOf("\n", this._at + GROWTH) + 1;
      until = line > this._at ? line : this._at + GROWTH;
    } else if (kind === "code" && !found && this._streaming) {
      until = this._held();
    }
    const added = text.slice(this._at, until);
    const unindented = indent ? added.replace(new RegExp(`^ {1,${indent}}`, "gm"), "") : added;
    pieces.append(this._intake.restored(unindented));
    this._at = until;
    if (isCut) return true;
    if (!found && this._streaming) return false;
    if (found) this._at = end.lastIndex;
    if (kind === "code") colour(figure);
    this._open = null;
    return true;
  }

  /** Where code is still undecided: its last line may become the closing fence, or is yet to lose its indentation. */
  _held() {
    const line = Math.max(this._text.lastIndexOf("\n") + 1, this._at);
    return this._open.indent || /^ {0,3}(?:`+|~+)[ \t]*$/.test(this._text.slice(line)) ? line : this._text.length;
  }

  /** The next blocks; gives whether more can be shown at once. */
  _blocks() {
    const { source, isAll, isCut } = this._next();
    if (source === "") {
      this._want *= 2;
      return this._want > LONGEST_BLOCK || isCut ? this._plain() : true;
    }
    const isGrowing = isAll && this._streaming;
    const prefix = this._inside?.prefix ?? "";
    let found;
    let nodes;
    try {
      found = lexed(isGrowing ? completed(prefix + source) : prefix + source, this._links);
      nodes = new MarkdownNodes(found.inside, this._intake);
    } catch {
      return this._plain();
    }
    const tokens = found.tokens.filter((token) => token.type !== "space");
    const [first] = tokens;
    if (first?.type === "paragraph" && first.raw.length > LONGEST_PARAGRAPH) return this._plain();
    if (!isAll && !isCut && tokens.length === 1 && !mayBeSplit(first)) {
      this._want *= 2;
      return this._want > LONGEST_BLOCK ? this._plain() : true;
    }
    this._want = SLICE;
    const end = this._at + source.length;
    const last = found.tokens.indexOf(tokens.at(-1));
    let isWhole = false;
    if (isGrowing) {
      isWhole = this._draw(found.tokens.slice(0, last + 1), tokens.at(-1) ?? null, nodes);
    } else if (isAll || (isCut && tokens.length < 2)) {
      if (this._draw(found.tokens, null, nodes)) this._at = end;
    } else if (tokens.length === 1) {
      this._draw([first], first, nodes);
    } else {
      this._draw(found.tokens.slice(0, last), null, nodes);
    }
    return !isWhole;
  }

  /**
   * What is read next: {source, isAll: to the end of the text, isCut: to a line that is not to be read}; source is
   * empty when it has to be longer to have a line, or begins with such a line (then isCut).
   */
  _next() {
    const text = this._text;
    const isAll = text.length - this._at <= this._want;
    const until = isAll ? text.length : text.lastIndexOf("\n", this._at + this._want) + 1;
    const slice = text.slice(this._at, until);
    const end = unreadable(slice);
    if (end >= 0) return { source: slice.slice(0, end), isAll: false, isCut: true };
    return { source: slice, isAll, isCut: false };
  }

  /** Show tokens, all before `open` for good, and so all when it is null. False when time ran out before the last. */
  _draw(tokens, open, nodes) {
    const wanted = this._inside === null ? tokens : this._continued(tokens, open, nodes);
    if (wanted === null) return true;
    if (this._isPartFull) this._beginPart();
    const fragment = document.createDocumentFragment();
    const finished = [];
    const definitions = [];
    let isWhole = true;
    for (const token of wanted) {
      isWhole = fragment.firstChild === null || this._turns.isOn;
      if (!isWhole) break;
      const made = drawn(token, nodes);
      fragment.append(...made);
      if (token === open) continue;
      if (token.type === "def") definitions.push(token);
      finished.push(...made.map(() => token.raw));
      this._at += token.raw.length;
    }
    patch(this._part, this._done, fragment);
    for (const source of finished) {
      this._done = this._done === null ? this._part.firstChild : this._done.nextSibling;
      colourIn(this._done);
      if (MAY_REFER.test(source) && this._referring.length < MOST_REFERRING) {
        this._referring.push({ source, node: this._done });
      }
    }
    this._define(definitions);
    if (isWhole && open !== null && mayBeSplit(open)) {
      const block = this._part.lastChild;
      const parent = open.type === "list" ? block : block.querySelector("tbody");
      if (parent === null || parent.childElementCount < 2) return true;
      this._done = block;
      this._split(open, parent, null, "", false);
    }
    return isWhole;
  }

  /** Show the rest of the list or table that is finished but for its end; gives what comes behind it, or null. */
  _continued(tokens, open, nodes) {
    const { kind, parent, done, prefix, loose } = this._inside;
    const head = tokens[0]?.type === kind ? tokens[0] : null;
    const fragment = document.createDocumentFragment();
    if (head) fragment.append(...(kind === "list" ? nodes.items(head, loose || head.loose) : nodes.rows(head)));
    patch(parent, done, fragment);
    if (open === null ? tokens.length === 0 : head === open) {
      if (head && mayBeSplit(head)) this._split(head, parent, done, prefix, loose);
      return null;
    }
    finish(parent, done, null);
    this._inside = null;
    if (head === null) return tokens;
    this._at += Math.max(0, head.raw.length - prefix.length);
    return tokens.slice(1);
  }

  /** All but the last item or row of an open token are finished; done: those before it that were so already. */
  _split(token, parent, done, prefix, loose) {
    const last = parent.lastElementChild.previousElementSibling;
    finish(parent, done, last);
    if (token.type === "list") {
      this._at += length(token.items.slice(0, -1).map((item) => item.raw));
      this._inside = { kind: "list", parent, done: last, prefix: "", loose: loose || token.loose };
    } else {
      const lines = token.raw.split(/(?<=\n)/);
      this._at += length(lines.slice(0, token.rows.length + 1)) - prefix.length;
      this._inside = { kind: "table", parent, done: last, prefix: lines[0] + lines[1], loose: false };
    }
    if (parent.childElementCount > MOST_ITEMS) this._goOnBelow(parent);
  }

  /** The next items or rows, and the last, which is not finished, go into another list or table. */
  _goOnBelow(full) {
    const last = full.lastElementChild;
    const block = this._done.cloneNode(false);
    let parent = block;
    if (this._inside.kind === "list") {
      if (block.nodeName === "OL") block.start = full.start + full.childElementCount - 1;
    } else {
      parent = document.createElement("tbody");
      const table = document.createElement("table");
      table.append(full.parentNode.tHead.cloneNode(true), parent);
      block.append(table);
    }
    last.remove();
    this._beginPart();
    parent.append(last);
    this._part.append(block);
    this._done = block;
    this._inside = { ...this._inside, parent, done: null };
  }

  /** Blocks that have been shown already learn of definitions that came behind them. */
  _define(definitions) {
    if (definitions.length === 0 || definitions.length > MOST_REFERRING) return;
    for (const { tag, href, title } of definitions) this._links[tag] ??= { href, title };
    const labels = definitions.map((one) => `[${one.tag}]`);
    for (const entry of this._referring) {
      const text = entry.source.toLowerCase();
      if (!labels.some((label) => text.includes(label))) continue;
      const { tokens, inside } = lexed(entry.source, this._links);
      const nodes = new MarkdownNodes(inside, this._intake);
      const made = tokens.flatMap((token) => drawn(token, nodes));
      if (made.length !== 1) continue;
      entry.node.replaceWith(made[0]);
      if (this._done === entry.node) [this._done] = made;
      [entry.node] = made;
      colourIn(made[0]);
    }
  }
}

function drawn(token, nodes) {
  try {
    return nodes.block(token);
  } catch {
    // Too deep for the browser's stack.
    const block = document.createElement("div");
    block.className = "plain";
    block.append(...textNodes(token.raw));
    return [block];
  }
}

/** Whether the begin of a list or table is long enough to be finished before its end has come. */
function mayBeSplit(token) {
  if (token.raw.length < LONG_LIST) return false;
  return token.type === "list" ? token.items.length > 1 : token.type === "table" && token.rows.length > 1;
}

/** Colour the code in what stands behind `done`, up to `last` (null: to the end). */
function finish(parent, done, last) {
  let node = done === null ? parent.firstElementChild : done.nextElementSibling;
  for (; node !== null; node = node === last ? null : node.nextElementSibling) colourIn(node);
}

function colourIn(node) {
  if (node.matches("figure.code")) colour(node);
  else for (const figure of node.querySelectorAll("figure.code")) colour(figure);
}

function length(texts) {
  return texts.reduce((sum, text) => sum + text.length, 0);
}
