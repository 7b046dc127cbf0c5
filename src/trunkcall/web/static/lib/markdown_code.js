/** A block of code: its language, how to copy and wrap it, and its text in colours once it is complete. */
import { copyText } from "./clipboard.js";
import { highlighted } from "./highlighting.js";
import { Pieces } from "./markdown_pieces.js";
import { t } from "./strings.js";

const LONGEST_NAME = 40;
const COPIED_MS = 1500;

/** The block of a text, which does not end its last line; info: what stands behind the fence. */
export function codeBlock(text, info) {
  const block = emptyCodeBlock(info);
  block.pieces.append(`${text}\n`);
  return block.figure;
}

/** A block that is filled by its `pieces`: {figure, pieces}. */
export function emptyCodeBlock(info) {
  const language = languageOf(info);
  const figure = made("figure", "code");
  if (language) figure.dataset.language = language;
  const head = made("figcaption", "code-head");
  const name = made("span", "code-language");
  name.textContent = language || t("markdown.code");
  const wrap = button("wrap", t("markdown.wrap"));
  wrap.setAttribute("aria-pressed", "false");
  head.append(name, wrap, button("copy", t("copy")));
  const frame = document.createElement("pre");
  frame.tabIndex = 0;
  const code = document.createElement("code");
  // Code reads from left to right in every language.
  code.dir = "ltr";
  frame.append(code);
  figure.append(head, frame);
  return { figure, pieces: new Pieces(code) };
}

/** Colour a block whose text is complete; it stays plain where that cannot be done. */
export async function colour(figure) {
  const code = figure.querySelector("code");
  const parts = await highlighted(code.textContent, figure.dataset.language);
  if (parts === null) return;
  const fresh = document.createElement("code");
  const pieces = new Pieces(fresh);
  for (const [scope, text] of parts) pieces.append(text, scope);
  code.replaceChildren(...fresh.childNodes);
}

/** Does what the pressed button of a block says. Raises as copyText does. */
export async function pressed(target) {
  const found = target.closest("button[data-does]");
  const figure = found?.closest("figure.code");
  if (!figure) return;
  if (found.dataset.does === "wrap") {
    found.setAttribute("aria-pressed", String(figure.classList.toggle("wrapped")));
    return;
  }
  await copyText(figure.querySelector("code").textContent.replace(/\n$/, ""));
  found.textContent = t("copied");
  setTimeout(() => (found.textContent = t("copy")), COPIED_MS);
}

function languageOf(info) {
  const word = /^\s*\{?\.?([^\s{},]*)/.exec(info)[1];
  return word.slice(0, LONGEST_NAME);
}

function button(does, text) {
  const found = made("button", "code-tool");
  found.type = "button";
  found.dataset.does = does;
  found.textContent = text;
  return found;
}

function made(name, className) {
  const element = document.createElement(name);
  element.className = className;
  return element;
}
