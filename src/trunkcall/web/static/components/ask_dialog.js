/** A question before something is lost. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "./button.js";
import { Dialog } from "./dialog.js";

/** does: what the button that goes on says; children: what it means. */
export function AskDialog({ title, does, onDo, onClose, children }) {
  const foot = html`
    <${Button} onClick=${onClose}>${t("cancel")}<//>
    <${Button} kind="danger" onClick=${onDo}>${does}<//>
  `;
  return html`<${Dialog} title=${title} onClose=${onClose} foot=${foot}>${children}<//>`;
}
