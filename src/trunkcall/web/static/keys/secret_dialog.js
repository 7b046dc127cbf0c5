/** The secret of a key that was just made: shown this once. */
import { html, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { CopyButton } from "../components/copy_button.js";
import { Dialog } from "../components/dialog.js";
import { Icon } from "../components/icon.js";

/** name: of the key; signedIn: this page uses it from now on. */
export function SecretDialog({ name, secret, signedIn, onClose }) {
  const [sure, setSure] = useState(false);
  // Escape or a click beside it would lose what cannot be had again.
  const leave = () => (sure ? onClose() : setSure(true));
  const foot = html`<${Button} kind="primary" onClick=${onClose}>${t("keys.secret.kept")}<//>`;
  return html`<${Dialog} title=${t("keys.secret", { name })} onClose=${leave} foot=${foot}>
    <p>${t("keys.secret.say")}</p>
    <div class="secret">
      <code>${secret}</code>
      <${CopyButton} text=${secret} label=${t("keys.secret.copy")} />
    </div>
    ${signedIn &&
    html`<p class="key-note"><${Icon} name="info" size=${18} /><span>${t("keys.secret.signed_in")}</span></p>`}
    <p class="field-error" role="alert">${sure && t("keys.secret.sure")}</p>
  <//>`;
}
