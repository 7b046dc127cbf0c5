/** Where formulas of LaTeX stand in Markdown: $…$, $$…$$, \(…\) and \[…\], but not prices. */

const LONGEST = 8000;
/** What begins with a figure and goes on in words is an amount of money: "$5, or 10$ with tax". */
const PRICE = /^\d[\d.,]*(?:$|[^\\^_={}]*\s\p{L}{2,})/u;
const DOLLAR = /^\$(?!\s)((?:\\[^\n]|[^\\$`\n]){1,1000}?)(?<!\s)\$(?![\p{L}\d$])/u;
const DISPLAYED = [
  [/^\$\$((?:\\[^]|[^\\$])+?)\$\$/, true],
  [/^\\\[([^]+?)\\\]/, true],
  [/^\\\(([^]+?)\\\)/, false],
];
const BLOCK = [/^ {0,3}\$\$((?:\\[^]|[^\\$])+?)\$\$[ \t]*(?:\n|$)/, /^ {0,3}\\\[([^]+?)\\\][ \t]*(?:\n|$)/];

/** A paragraph's worth of a text: no formula goes over a blank line, and no search over more than it may hold. */
function reach(source) {
  const end = source.search(/\n[ \t]*\n/);
  return source.slice(0, Math.min(end < 0 ? source.length : end + 1, LONGEST));
}

/** marked's extensions; their tokens are {type: "formula", raw, text, display}. */
export const MATH = [
  {
    name: "formula_block",
    level: "block",
    start(source) {
      const at = reach(source).search(/^ {0,3}(?:\$\$|\\\[)/m);
      return at < 0 ? undefined : at;
    },
    tokenizer(source) {
      if (!/^ {0,3}(?:\$\$|\\\[)/.test(source)) return undefined;
      const near = reach(source);
      const found = BLOCK.map((one) => one.exec(near)).find(Boolean);
      return found && { type: "formula", raw: found[0], text: found[1].trim(), display: true };
    },
  },
  {
    name: "formula",
    level: "inline",
    start(source) {
      const at = source.search(/(?<![\p{L}\d\\$])\$|\\[([]/u);
      return at < 0 ? undefined : at;
    },
    tokenizer(source) {
      if (source[0] === "$" && source[1] !== "$") {
        const found = DOLLAR.exec(source);
        if (!found || PRICE.test(found[1])) return undefined;
        return { type: "formula", raw: found[0], text: found[1], display: false };
      }
      if (!/^(?:\$\$|\\[([])/.test(source)) return undefined;
      const near = reach(source);
      for (const [pattern, display] of DISPLAYED) {
        const found = pattern.exec(near);
        if (found) return { type: "formula", raw: found[0], text: found[1].trim(), display };
      }
      return undefined;
    },
  },
];
