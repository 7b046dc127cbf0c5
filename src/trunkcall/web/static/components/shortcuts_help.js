/** Help: the shortcuts that work now, and what this server is. */
import { html } from "../lib/html.js";
import { session } from "../lib/session.js";
import { shortcuts, singleKeys } from "../lib/shortcuts.js";
import { t } from "../lib/strings.js";
import { Dialog } from "./dialog.js";
import { Keys } from "./keys.js";

/** onClose: it was closed. */
export function ShortcutsHelp({ onClose }) {
  const shown = new Map();
  for (const one of shortcuts.value) shown.set(one.keys, one.label);
  return html`<${Dialog} title=${t("help.title")} onClose=${onClose}>
    <dl class="shortcuts">
      ${[...shown].map(
        ([keys, label]) => html`<div key=${keys}><dt><${Keys} keys=${keys} /></dt><dd>${label}</dd></div>`,
      )}
    </dl>
    <label class="tick">
      <input
        type="checkbox"
        checked=${singleKeys.value}
        onChange=${(event) => {
          singleKeys.value = event.target.checked;
        }}
      />
      ${t("help.single_keys")}
    </label>
    <p class="faint">${t("help.about", { version: session.value.version, address: location.origin })}</p>
  <//>`;
}
