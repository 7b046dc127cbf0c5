/** Keys as they are written on a keyboard. */
import { html } from "../lib/html.js";
import { keycaps } from "../lib/shortcuts.js";

/** keys: as lib/shortcuts.js has them, "Mod+k". */
export function Keys({ keys }) {
  return html`<span class="keys">${keycaps(keys).map((cap) => html`<kbd key=${cap}>${cap}</kbd>`)}</span>`;
}
