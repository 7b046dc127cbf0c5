/** Small charts over time, as lines or as stacked bars, drawn as SVG; the same numbers stand behind as a table. */
import { html, useState } from "../lib/html.js";
import { scale } from "../lib/rates.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";

/** Of the drawing's own units; it is stretched to whatever room there is. */
const WIDTH = 1000;
const HEIGHT = 100;
/** Part of a bar's place that stays free. */
const FREE = 0.15;

/**
 * label: what is drawn; series: [{name, values}], all of one length, null for what is not known, six at most; kind:
 * "lines" or "bars" (stacked); ticks: [{at, text}] below, at from 0 to 1; format(value): as text; pointName(index): the
 * moment of a value; whole: values are counts; every: the table has each so many values in one row.
 */
export function Chart({ label, series, kind = "lines", ticks, format, pointName, whole = false, every = 1 }) {
  useStylesheet("styles/chart.css");
  const [at, setAt] = useState(null);
  const [open, setOpen] = useState(false);
  const count = series[0]?.values.length ?? 0;
  const stacked = kind === "bars";
  const { top, marks } = scale(mostOf(series, stacked, count), whole);
  const look = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    setAt(Math.max(0, Math.min(count - 1, stacked ? Math.floor(share * count) : Math.round(share * (count - 1)))));
  };
  const seen = at !== null && at < count;
  return html`<div class="chart">
    <div class="chart-body">
      <div class="chart-marks" aria-hidden="true">
        ${marks.map(
          (mark) => html`<span key=${mark} style=${{ bottom: `${(100 * mark) / top}%` }}>${format(mark)}</span>`,
        )}
      </div>
      <div class="chart-drawing" onPointerMove=${look} onPointerLeave=${() => setAt(null)}>
        <svg
          viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label=${described(label, series, format)}
        >
          ${marks.map((mark) => html`<path key=${mark} class="chart-grid" d=${`M0 ${y(mark, top)}H${WIDTH}`} />`)}
          ${(stacked ? stackOf(series, count, top) : series.map(({ values }) => lineOf(values, top))).map(
            (path, number) =>
              html`<path key=${number} class=${`chart-${stacked ? "bar" : "line"} series-${number}`} d=${path} />`,
          )}
          ${seen && html`<path class="chart-here" d=${`M${x(at, count, stacked)} 0V${HEIGHT}`} />`}
        </svg>
      </div>
    </div>
    <div class="chart-ticks" aria-hidden="true">
      ${ticks.map(
        (tick) =>
          html`<span key=${tick.at} style=${{ left: `${100 * tick.at}%`, transform: `translateX(${-100 * tick.at}%)` }}>
            ${tick.text}
          </span>`,
      )}
    </div>
    <p class="chart-legend">
      ${seen && html`<span class="chart-when">${pointName(at)}</span>`}
      ${(seen || series.length > 1) &&
      series.map(
        ({ name, values }, number) =>
          html`<span key=${name} class="chart-name">
            <i class=${`series-${number}`} aria-hidden="true" />${name}
            ${seen && html` <b>${shown(values[at], format)}</b>`}
          </span>`,
      )}
    </p>
    <details class="chart-table" onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>${t("chart.table")}<span class="visually-hidden">${`: ${label}`}</span></summary>
      ${open &&
      html`<${Numbers}
        label=${label}
        series=${series}
        stacked=${stacked}
        format=${format}
        pointName=${pointName}
        every=${every}
      />`}
    </details>
  </div>`;
}

function Numbers({ label, series, stacked, format, pointName, every }) {
  const count = series[0]?.values.length ?? 0;
  const rows = [];
  for (let end = count; end > 0; end -= every) rows.push([Math.max(0, end - every), end]);
  return html`<div class="table-frame" tabindex="0" role="group" aria-label=${label}>
    <table>
      <thead>
        <tr>
          <th scope="col">${t("chart.when")}</th>
          ${series.map(({ name }) => html`<th key=${name} scope="col" class="number">${name}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ([from, end]) =>
            html`<tr key=${end}>
              <th scope="row">${pointName(end - 1)}</th>
              ${series.map(
                ({ name, values }) =>
                  html`<td key=${name} class="number">${shown(joined(values.slice(from, end), stacked), format)}</td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Some values as one: bars add up, of lines the last that is known counts. */
function joined(values, stacked) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return null;
  return stacked ? known.reduce((sum, value) => sum + value, 0) : known.at(-1);
}

function shown(value, format) {
  return value === null || value === undefined ? t("chart.unknown") : format(value);
}

function mostOf(series, stacked, count) {
  if (!stacked) return Math.max(0, ...series.flatMap(({ values }) => values.filter((value) => value !== null)));
  let most = 0;
  for (let at = 0; at < count; at += 1) {
    const sum = series.reduce((before, { values }) => before + (values[at] ?? 0), 0);
    most = Math.max(most, sum);
  }
  return most;
}

function described(label, series, format) {
  const each = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    if (!known.length) return t("chart.nothing", { name });
    return t("chart.said", { name, last: format(known.at(-1)), most: format(Math.max(...known)) });
  });
  return `${label}. ${each.join(" ")}`;
}

const round = (number) => Math.round(number * 100) / 100;
const y = (value, top) => round(HEIGHT - (HEIGHT * value) / top);
const x = (at, count, stacked) =>
  round(stacked ? ((at + 0.5) * WIDTH) / count : count > 1 ? (at * WIDTH) / (count - 1) : 0);

/** A line, broken where nothing is known; one value alone is a short stroke. */
function lineOf(values, top) {
  const count = values.length;
  let path = "";
  values.forEach((value, at) => {
    if (value === null) return;
    const begins = at === 0 || values[at - 1] === null;
    const alone = begins && (at === count - 1 || values[at + 1] === null);
    const place = x(at, count, false);
    path += `${begins ? "M" : "L"}${place} ${y(value, top)}`;
    if (alone) path += `h${at === count - 1 ? -4 : 4}`;
  });
  return path;
}

/** One path for each series, its bars upon those of the series before. */
function stackOf(series, count, top) {
  const heights = new Array(count).fill(0);
  const place = WIDTH / count;
  return series.map(({ values }) => {
    let path = "";
    values.forEach((value, at) => {
      if (!(value > 0)) return;
      const from = heights[at];
      heights[at] += value;
      const width = round(place * (1 - FREE));
      path += `M${round((at + FREE / 2) * place)} ${y(from, top)}h${width}V${y(heights[at], top)}h${-width}z`;
    });
    return path;
  });
}
