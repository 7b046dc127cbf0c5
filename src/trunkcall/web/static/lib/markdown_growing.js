/** The end of a text that still grows, as it will most likely go on, so that nothing turns into something else. */

const LONGEST = 4000;
const ITEM = /\n[ \t]*(?:>[ \t]*)*(?:[-+*]|\d{1,9}[.)])[ \t]/g;
/** A last line of nothing but signs may become a list, a heading, a rule, a table, a fence, a definition. */
const UNDECIDED = new RegExp(
  `^[ \\t]*(?:>[ \\t]*)*(?:>|${[
    "(?:[-+*]|\\d{1,9}[.)]) *(?:\\[[ xX]?\\]?)?", // a task
    "(?:(?:[-+*]|\\d{1,9}[.)]) +)?(?:`{3,}[^`]*|~{3,}.*)", // a fence
    "[-=#*_+|:` ~]+",
    "\\d{1,9}[.)]?",
    "\\$\\$?|\\\\\\[?|!\\[?",
    "\\[[^\\][]{0,80}\\]?:?",
  ].join("|")})[ \\t]*$`,
);
const FENCE = /^[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)?(`{3,}|~{3,})/gm;
const HALF_LINK = /(!?)\[([^\][\n]*)(?:\](?:\([^()\s]*(?:\s[^()\n]*)?)?)?$/;
const HALF_TAG = /(?:<\/?[a-zA-Z]{0,6}|&#?\w{0,8})$/;
const BEGUN_MARK = /(^|\s)[*_~]{1,3}$/;
const MATH_BEGINS = /\\\(|\\\[|\$\$/g;
const MATH_ENDS = { "\\(": "\\)", "\\[": "\\]", $$: "$$" };
const RUN = /\\[^]|`+|\*{1,3}|~~|__|(?<![\p{L}\d])_(?=\S)|_(?![\p{L}\d])/gu;

/** source: a block's text so far. Gives what to show of it. */
export function completed(source) {
  const line = source.lastIndexOf("\n") + 1;
  const text = UNDECIDED.test(source.slice(line)) ? source.slice(0, Math.max(0, line - 1)) : source;
  if (isInFence(text)) return text;
  return withTable(text) ?? withEnds(text);
}

function isInFence(text) {
  let open = "";
  for (const [, mark] of text.matchAll(FENCE)) {
    if (!open) open = mark;
    else if (mark.startsWith(open)) open = "";
  }
  return open !== "";
}

/** A table's head is one from its first row on; null when the text does not begin one. */
function withTable(text) {
  const start = text.lastIndexOf("\n\n") < 0 ? 0 : text.lastIndexOf("\n\n") + 2;
  const [head, ruler, ...more] = text.slice(start).split("\n", 3);
  if (more.length || !/^ {0,3}\|.*[^|\s]/.test(head) || !/^[\s|:-]*$/.test(ruler ?? "")) return null;
  const cells = head.replace(/\\\|/g, "").trim().replace(/^\||\|$/g, "").split("|").length;
  return `${text.slice(0, start)}${head}\n|${" --- |".repeat(cells)}`;
}

/** Closes what is open in the last paragraph, and leaves out what is not readable before its end has come. */
function withEnds(text) {
  const from = Math.max(text.lastIndexOf("\n\n"), lastItem(text), 0);
  if (text.length - from > LONGEST) return text;
  const before = text.slice(0, from);
  const last = text.slice(from).replace(HALF_TAG, "").replace(BEGUN_MARK, "$1");
  const { marks, code } = openMarks(last);
  if (code) {
    const isEmpty = last.slice(code.at + code.mark.length).trim() === "";
    return before + (isEmpty ? last.slice(0, code.at) : last.trimEnd() + code.mark);
  }
  const math = openMath(last);
  if (math >= 0) return before + last.slice(0, math);
  let shown = last.replace(HALF_LINK, (whole, image, label) => {
    if (image) return "";
    return whole.includes("](") || !whole.includes("]") ? label : whole;
  });
  // A closing mark that has come by half.
  const [half] = /[*_~]*$/.exec(shown);
  if (half && marks.at(-1)?.startsWith(half) && marks.at(-1) !== half) shown = shown.slice(0, -half.length);
  if (marks.length === 0) return before + shown;
  shown = shown.trimEnd();
  for (const mark of marks.reverse()) {
    if (shown.endsWith(mark)) shown = shown.slice(0, -mark.length).trimEnd();
    else shown += mark;
  }
  return before + shown;
}

/** What is open at the end: {marks: those of emphasis, outermost first, code: {mark, at} or null}. */
function openMarks(text) {
  const marks = [];
  RUN.lastIndex = 0;
  for (let found = RUN.exec(text); found; found = RUN.exec(text)) {
    const [mark] = found;
    const end = found.index + mark.length;
    if (mark[0] === "\\") continue;
    if (mark[0] === "`") {
      RUN.lastIndex = closing(text, end, mark);
      if (RUN.lastIndex === 0) return { marks, code: { mark, at: found.index } };
    } else if (marks.at(-1) === mark) {
      if (/\S/.test(text[found.index - 1] ?? " ")) marks.pop();
    } else if (/\S/.test(text[end] ?? "x")) {
      marks.push(mark);
    }
  }
  return { marks, code: null };
}

function lastItem(text) {
  const from = Math.max(0, text.length - LONGEST);
  const found = [...text.slice(from).matchAll(ITEM)].at(-1);
  return found ? from + found.index + found[0].length : 0;
}

/** Behind the run of as many backticks; 0 without. */
function closing(text, from, mark) {
  const ticks = /`+/g;
  ticks.lastIndex = from;
  for (let found = ticks.exec(text); found; found = ticks.exec(text)) {
    if (found[0].length === mark.length) return ticks.lastIndex;
  }
  return 0;
}

/** Where a formula begins whose end has not come; -1 without. */
function openMath(text) {
  MATH_BEGINS.lastIndex = 0;
  for (let found = MATH_BEGINS.exec(text); found; found = MATH_BEGINS.exec(text)) {
    const at = text.indexOf(MATH_ENDS[found[0]], found.index + 2);
    if (at < 0) return found.index;
    MATH_BEGINS.lastIndex = at + 2;
  }
  return -1;
}
