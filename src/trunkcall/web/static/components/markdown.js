/** Markdown that a model writes: text, code, tables and formulas, and nothing that could do anything. */
import { html, useEffect, useLayoutEffect, useRef } from "../lib/html.js";
import { MarkdownView } from "../lib/markdown.js";
import { pressed } from "../lib/markdown_code.js";
import { t } from "../lib/strings.js";
import { fetchStylesheet } from "../lib/stylesheet.js";
import { notify } from "./toast.js";

// Asked for with the page that imports this, so that the first answer finds it there.
fetchStylesheet("styles/markdown.css");

/** text: Markdown; streaming: more of it comes, so that its end is shown as it will most likely go on. */
export function Markdown({ text, streaming = false }) {
  const element = useRef(null);
  const view = useRef(null);
  useLayoutEffect(() => {
    view.current ??= new MarkdownView(element.current);
    view.current.show(text, streaming);
  }, [text, streaming]);
  useEffect(() => () => view.current?.close(), []);
  return html`<div class="markdown" ref=${element} onClick=${press} />`;
}

async function press(event) {
  try {
    await pressed(event.target);
  } catch {
    notify(t("copy.refused"), { kind: "error" });
  }
}
