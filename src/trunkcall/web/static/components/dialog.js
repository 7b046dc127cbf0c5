/** A dialog over the page: the browser's own, so that Escape, focus and screen readers work. */
import { html, useId, useLayoutEffect, useRef } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { IconButton } from "./button.js";

/** title: its heading; onClose: it was closed, by whatever way; wide: for much content; foot: the row of buttons. */
export function Dialog({ title, onClose, wide = false, foot, children }) {
  const element = useRef(null);
  const heading = useId();
  useLayoutEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      // The browser does so only for a dialog that is still in the page.
      before?.focus({ preventScroll: true });
    };
  }, []);
  return html`<dialog
    ref=${element}
    class=${wide ? "dialog wide" : "dialog"}
    aria-labelledby=${heading}
    onCancel=${(event) => {
      event.preventDefault();
      onClose();
    }}
    onMouseDown=${(event) => {
      // A click beside it closes what is only read: what was typed is not to be lost by a slip.
      if (event.target === element.current && !element.current.querySelector("input, textarea, select")) onClose();
    }}
  >
    <div class="dialog-body">
      <header class="dialog-head">
        <h2 id=${heading}>${title}</h2>
        <${IconButton} icon="close" label=${t("close")} onClick=${onClose} />
      </header>
      <div class="dialog-content">${children}</div>
      ${foot && html`<footer class="dialog-foot">${foot}</footer>`}
    </div>
  </dialog>`;
}
