/** What the operator wants accepted before anything is asked; once in this browser. */
import { html, signal } from "../lib/html.js";
import { recall, remember } from "../lib/remembered.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button } from "./button.js";
import { Markdown } from "./markdown.js";

const NAME = "trunkcall.terms";
/** The text that was accepted; other terms are to be accepted anew. */
const accepted = signal(recall(NAME) ?? "");

/** Whether all there is to accept was accepted. */
export const termsAccepted = () => !session.value.terms || accepted.value === session.value.terms;

/** The terms with their button; nothing once they were accepted. */
export function Terms() {
  useStylesheet("styles/asking.css");
  if (termsAccepted()) return null;
  const accept = () => {
    accepted.value = session.value.terms;
    remember(NAME, session.value.terms);
  };
  return html`<section class="card terms" aria-label=${t("terms.title")}>
    <h2>${t("terms.title")}</h2>
    <${Markdown} text=${session.value.terms} />
    <${Button} kind="primary" icon="check" onClick=${accept}>${t("terms.accept")}<//>
  </section>`;
}
