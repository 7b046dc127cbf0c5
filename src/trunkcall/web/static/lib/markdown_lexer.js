/** Markdown as marked's tokens, with formulas, without HTML, and never at a price that a text can drive up. */
import { Lexer, Marked } from "../vendor/marked.js";
import { MATH } from "./markdown_math.js";

/** Characters of one paragraph, cell or heading; what is longer is not read as Markdown. */
export const LONGEST_PARAGRAPH = 10_000;

/** marked's time grows with the product of a paragraph's length and the signs in it; measured: 50 ms. */
const MOST_WORK = 1_000_000;
const SIGN = /[*_~`[\]<$\\]/g;
/** Quotes and lists within each other on one line, or by indentation; each level is read again for each above it. */
const TOO_DEEP = /^(?:[ \t]*(?:>|[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t]))){40}|^[ \t]{160}[ \t]*(?:[-+*>]|\d{1,9}[.)])/m;
/** Browsers break such words in quadratic time. */
const LONG_WORD = /(?<!\S)\S{1500}/;

// A block of HTML would be all text; without it the Markdown inside is still read.
const marked = new Marked({ gfm: true, breaks: true });
marked.use({ extensions: MATH, tokenizer: { html: () => undefined } });

/** Where the first line of a text begins that is not for reading as Markdown: too long, or too deep; -1 without. */
export function unreadable(source) {
  const found = [source.search(TOO_DEEP), source.search(LONG_WORD), overlong(source)].filter((at) => at >= 0);
  return found.length ? source.lastIndexOf("\n", Math.min(...found) - 1) + 1 : -1;
}

function overlong(source) {
  if (source.length <= LONGEST_PARAGRAPH) return -1;
  for (let at = 0; ; ) {
    const end = source.indexOf("\n", at);
    if ((end < 0 ? source.length : end) - at > LONGEST_PARAGRAPH) return at;
    if (end < 0) return -1;
    at = end + 1;
  }
}

/**
 * The top-level tokens of a text: {tokens, inside}; inside(token) gives the tokens of its text, read when asked for.
 * links: definitions of references from what stands before, by their labels; an object without prototype.
 * Raises RangeError for what is too deep.
 */
export function lexed(source, links) {
  const lexer = new Lexer(marked.defaults);
  // Those that are found hold for this text only: the last of them may not be complete.
  lexer.tokens.links = Object.create(links);
  const tokens = [];
  lexer.blockTokens(source, tokens);
  const waiting = new Map(lexer.inlineQueue.map((one) => [one.tokens, one.src]));
  const inside = (token) => {
    const text = waiting.get(token.tokens);
    if (text !== undefined) {
      waiting.delete(token.tokens);
      if (isTooMuch(text)) token.tokens.push({ type: "text", raw: text, text });
      else lexer.inlineTokens(text, token.tokens);
    }
    return token.tokens ?? [];
  };
  return { tokens, inside };
}

function isTooMuch(text) {
  return text.length > LONGEST_PARAGRAPH || text.length * (text.match(SIGN)?.length ?? 0) > MOST_WORK;
}
