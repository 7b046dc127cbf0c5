/** Buttons: with a text, with an icon and a text, or with an icon whose label is read out and shown on hovering. */
import { html } from "../lib/html.js";
import { Icon } from "./icon.js";

/** kind: "plain", "primary", "danger" or "quiet"; other properties are the button's own. */
export function Button({ icon, kind = "plain", children, class: more = "", ...rest }) {
  return html`<button type="button" class=${`button ${kind} ${more}`} ...${rest}>
    ${icon && html`<${Icon} name=${icon} size=${18} />`}<span>${children}</span>
  </button>`;
}

/** label: what it does, in words; pressed: for those that switch something. */
export function IconButton({ icon, label, pressed, kind = "quiet", class: more = "", size = 20, ...rest }) {
  return html`<button
    type="button"
    class=${`button icon-only ${kind} ${more}`}
    aria-label=${label}
    title=${label}
    aria-pressed=${pressed}
    ...${rest}
  ><${Icon} name=${icon} size=${size} /></button>`;
}
