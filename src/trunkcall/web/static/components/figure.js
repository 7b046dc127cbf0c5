/** One big number with what it is, for pages that are looked at from afar. */
import { html } from "../lib/html.js";

/** value: as text; unit: behind it; note: a smaller second figure; kind: "danger" or "warning" if it is no good sign. */
export function Figure({ label, value, unit = "", note = "", kind = "" }) {
  return html`<div class="figure">
    <h3>${label}</h3>
    <p class=${`figure-value ${kind}`}><strong>${value}</strong>${unit && html` <span class="faint">${unit}</span>`}</p>
    <p class="figure-note faint">${note}</p>
  </div>`;
}
