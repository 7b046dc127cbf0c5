/** Bars: how much of something is taken, by whom; and how far something is. */
import { html } from "../lib/html.js";

/** most: of all parts together; parts: [{kind, size, label}]; label: what is measured. */
export function Meter({ most, parts, label }) {
  const share = (size) => `${Math.min(100, (100 * size) / most)}%`;
  const said = parts
    .filter((part) => part.size > 0)
    .map((part) => part.label)
    .join(", ");
  return html`<div class="meter" role="img" aria-label=${`${label}: ${said}`}>
    ${parts.map(
      (part) =>
        html`<span
          key=${part.kind}
          class=${part.kind}
          title=${part.label}
          style=${{ width: share(part.size) }}
        />`,
    )}
  </div>`;
}

/** done: from 0 to 1, null where that is not known; label: what is on its way. */
export function Progress({ done, label }) {
  return html`<div
    class=${done === null ? "progress unknown" : "progress"}
    role="progressbar"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${done === null ? undefined : Math.floor(done * 100)}
  ><span style=${done === null ? {} : { width: `${done * 100}%` }} /></div>`;
}
