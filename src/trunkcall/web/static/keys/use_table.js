/** Sums of use as a table, with their total. */
import { html, useState } from "../lib/html.js";
import { duration, money, whole } from "../lib/format.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { COLUMNS } from "./use.js";

const SHOWN = 100;

/** groups: the columns by which the rows are apart. */
export function UseTable({ rows, total, groups }) {
  const [most, setMost] = useState(SHOWN);
  const cells = (row) =>
    COLUMNS.map(
      (name) =>
        html`<td key=${name} class=${`number ${name === "failed" && row.failed ? "bad" : ""}`}>
          ${said(name, row[name])}
        </td>`,
    );
  return html`<div class="table-frame" tabindex="0" role="group" aria-label=${t("use.table")}>
      <table class="use-table">
        <thead>
          <tr>
            ${groups.map((name) => html`<th key=${name} scope="col">${t(`use.by.${name}`)}</th>`)}
            ${COLUMNS.map((name) => html`<th key=${name} scope="col" class="number">${t(`use.column.${name}`)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.slice(0, most).map(
            (row) =>
              html`<tr key=${groups.map((name) => row[name]).join("\n")}>
                ${groups.map((name, at) =>
                  at === 0
                    ? html`<th key=${name} scope="row">${named(name, row[name])}</th>`
                    : html`<td key=${name}>${named(name, row[name])}</td>`,
                )}
                ${cells(row)}
              </tr>`,
          )}
        </tbody>
        <tfoot>
          <tr><th scope="row" colspan=${groups.length}>${t("use.total")}</th>${cells(total)}</tr>
        </tfoot>
      </table>
    </div>
    ${rows.length > most &&
    html`<${Button} class="use-more" onClick=${() => setMost(most + SHOWN)}>
      ${t("use.more_rows", { count: rows.length - most })}
    <//>`}`;
}

function named(group, value) {
  if (group === "hour") return `${value.slice(0, 10)} ${value.slice(11, 16)}`;
  return value || t("use.nobody");
}

function said(column, value) {
  if (column === "cost") return money(value);
  return column.startsWith("mean_") ? duration(value) || "–" : whole(value);
}
