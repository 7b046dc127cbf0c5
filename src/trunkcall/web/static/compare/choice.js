/** Choosing one of some values, or any of them. */
import { html } from "../lib/html.js";

/** value: empty for any; textOf(value): as it is shown. */
export function Choice({ label, value, values, textOf, onChange }) {
  return html`<select
    class="results-choice"
    aria-label=${label}
    value=${value}
    onChange=${(event) => onChange(event.target.value)}
  >
    ${["", ...values].map(
      (one) => html`<option key=${one} value=${one} selected=${one === value}>${textOf(one)}</option>`,
    )}
  </select>`;
}
