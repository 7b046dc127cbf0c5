/** Columns side by side in rows, and on a phone as cards to swipe with a tab for each. */
import { html, useRef, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";

/** Without any wish, so many at most in a row. */
const USUAL = 3;

/** The letter of a column by its place. */
export const letterOf = (index) => String.fromCharCode(65 + index);

/**
 * columns: the Columns; nameOf(column, index): as its tab says; perRow: how many in a row, -1 for all, null
 * for as many as are usual; render(column, index): a ColumnView.
 */
export function ColumnsView({ columns, nameOf, perRow = null, render }) {
  const box = useRef(null);
  const [at, setAt] = useState(0);
  const count = columns.length;
  const current = Math.min(at, count - 1);
  const inRow = perRow === -1 ? count : Math.min(perRow ?? USUAL, count);
  const show = (index) => {
    box.current.children[index].scrollIntoView({ behavior: "smooth", block: "nearest", inline: "start" });
  };
  const onScroll = () => {
    const { scrollLeft, scrollWidth } = box.current;
    setAt(Math.round(scrollLeft / (scrollWidth / count)));
  };
  return html`<div class="columns-frame">
    <div class="columns-tabs" role="group" aria-label=${t("compare.tabs")}>
      ${columns.map(
        (column, index) => html`<button
          key=${column.id}
          type="button"
          class="columns-tab"
          aria-pressed=${index === current ? "true" : "false"}
          onClick=${() => show(index)}
        >
          <b>${letterOf(index)}</b> <span>${nameOf(column, index)}</span>
          ${column.running && html`<span class="spinner small" aria-hidden="true" />`}
        </button>`,
      )}
    </div>
    <div
      ref=${box}
      class=${`columns ${perRow === -1 ? "one-row" : perRow === null ? "" : "chosen"}`}
      style=${{ "--in-row": inRow }}
      onScroll=${onScroll}
    >
      ${columns.map(render)}
    </div>
  </div>`;
}
