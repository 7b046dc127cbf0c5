/** Short messages that come and go, read out by screen readers. */
import { html, signal, useLayoutEffect, useRef } from "../lib/html.js";
import { Icon } from "./icon.js";

const SHOWN_MS = 6000;
const toasts = signal([]);
let count = 0;

/** Tell something. kind: "info" or "error"; action: {label, run} for a button beside the text. */
export function notify(text, { kind = "info", action } = {}) {
  const id = (count += 1);
  toasts.value = [...toasts.value.slice(-3), { id, text, kind, action }];
  setTimeout(() => dismiss(id), SHOWN_MS);
}

function dismiss(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/** Where they appear; once in the page. A popover, so that they stand over dialogs too. */
export function Toasts() {
  const element = useRef(null);
  const last = toasts.value.at(-1)?.id ?? 0;
  useLayoutEffect(() => {
    // Shown anew, it comes to lie over what was opened meanwhile.
    element.current.hidePopover();
    if (last) element.current.showPopover();
  }, [last]);
  return html`<div class="toasts" popover="manual" role="status" aria-live="polite" ref=${element}>
    ${toasts.value.map(
      ({ id, text, kind, action }) => html`<div key=${id} class=${`toast ${kind}`}>
        <${Icon} name=${kind === "error" ? "warning" : "info"} size=${18} />
        <span>${text}</span>
        ${action &&
        html`<button
          type="button"
          class="button quiet"
          onClick=${() => {
            dismiss(id);
            action.run();
          }}
        ><span>${action.label}</span></button>`}
      </div>`,
    )}
  </div>`;
}
