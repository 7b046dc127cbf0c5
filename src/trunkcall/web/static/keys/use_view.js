/** What was used, by model, key, day or hour, in a chosen span of time: as bars, as a table, and as CSV. */
import { html, useEffect, useId, useMemo, useState } from "../lib/html.js";
import { moment, money, short, whole } from "../lib/format.js";
import { returns } from "../lib/connection.js";
import { getJson } from "../lib/http.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Chart } from "../components/chart.js";
import { Figure } from "../components/figure.js";
import { EmptyState, ErrorNote, Waiting } from "../components/notes.js";
import { UseTable } from "./use_table.js";
import { GROUPS, MEASURES, SPANS, csv, measured, ordered, seriesOf, slots, spanOf } from "./use.js";

const MOST_BARS = 20;
const isTime = (by) => by === "day" || by === "hour";

/** All of it. */
export function UseView() {
  const [asked, setAsked] = useState({ span: "week", by: "day", split: "model", measure: "tokens", from: "", to: "" });
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  const [tries, setTries] = useState(0);
  const { span, by, split, measure, from, to } = asked;
  const back = returns.value;
  const set = (changes) => setAsked((now) => ({ ...now, ...changes }));
  useEffect(() => {
    const abort = new AbortController();
    const { since, until } = spanOf(span, Date.now() / 1000, from, to);
    const groups = split ? [by, split] : [by];
    const query = new URLSearchParams({
      by: groups.join(","),
      ...(since === null ? {} : { since }),
      ...(until === null ? {} : { until }),
    });
    getJson(`/admin/usage?${query}`, { signal: abort.signal }).then(
      (found) => {
        setTold({ ...found, by, split, asked: { since, until }, at: Date.now() / 1000 });
        setError(null);
      },
      (failure) => !abort.signal.aborted && setError(failure),
    );
    return () => abort.abort();
  }, [span, by, split, from, to, tries, back]);
  const save = () => {
    const groups = told.split ? [told.by, told.split] : [told.by];
    download(
      `trunkcall-use-by-${groups.join("-")}-${new Date().toISOString().slice(0, 10)}.csv`,
      csv(told.rows, groups),
    );
  };
  return html`<section class="use" aria-labelledby="use-title">
    <h2 id="use-title" class="visually-hidden">${t("keys.tab.use")}</h2>
    <div class="use-asked">
      <${Choice} name="span" words=${SPANS} value=${span} onSet=${(value) => set({ span: value })} />
      ${span === "own" &&
      html`<${Day} name="from" value=${from} max=${to} onSet=${(value) => set({ from: value })} />
        <${Day} name="to" value=${to} min=${from} onSet=${(value) => set({ to: value })} />`}
      <${Choice}
        name="by"
        words=${GROUPS}
        value=${by}
        onSet=${(value) => set({ by: value, split: split === value ? "" : split })}
      />
      <${Choice}
        name="split"
        words=${["", ...GROUPS.filter((name) => name !== by && !(isTime(name) && isTime(by)))]}
        value=${split}
        onSet=${(value) => set({ split: value })}
      />
      <${Choice} name="measure" words=${MEASURES} value=${measure} onSet=${(value) => set({ measure: value })} />
      <div class="use-acts">
        <${Button} icon="again" onClick=${() => setTries(tries + 1)}>${t("use.again")}<//>
        <${Button} icon="download" disabled=${!told?.rows.length} onClick=${save}>${t("use.csv")}<//>
      </div>
    </div>
    ${error && !error.isOffline && html`<${ErrorNote} error=${error} onRetry=${() => setTries(tries + 1)} />`}
    ${told === null && !error && html`<${Waiting} />`}
    ${told !== null && html`<${Told} told=${told} measure=${measure} />`}
  </section>`;
}

function Told({ told, measure }) {
  const { rows, total, by, split } = told;
  if (rows.length === 0) {
    return html`<${EmptyState} icon="operate" title=${t("use.empty")}><p>${t("use.empty.say")}</p><//>`;
  }
  return html`
    <div class="use-figures">
      <div class="card">
        <${Figure}
          label=${t("use.column.requests")}
          value=${short(total.requests)}
          note=${total.open ? t("use.open", { count: total.open }) : ""}
        />
      </div>
      <div class="card">
        <${Figure}
          label=${t("use.tokens")}
          value=${short(total.prompt_tokens + total.completion_tokens)}
          note=${t("use.in_and_out", {
            prompt: short(total.prompt_tokens),
            completion: short(total.completion_tokens),
          })}
        />
      </div>
      <div class="card">
        <${Figure} label=${t("use.column.cost")} value=${money(total.cost)} note=${t("use.cost.means")} />
      </div>
      <div class="card">
        <${Figure}
          label=${t("use.column.failed")}
          value=${short(total.failed)}
          kind=${total.failed ? "danger" : ""}
          note=${t("use.share", { percent: percent(total.failed, total.requests) })}
        />
      </div>
    </div>
    ${isTime(by)
      ? html`<${OverTime} told=${told} measure=${measure} />`
      : html`<${Bars} told=${told} measure=${measure} />`}
    <p class="faint use-span">${said(told)}</p>
    <${UseTable} rows=${ordered(rows, by, measure)} total=${total} groups=${split ? [by, split] : [by]} />
  `;
}

function OverTime({ told, measure }) {
  const { rows, by, split, since, until, at } = told;
  const drawn = useMemo(() => {
    const names = slots(by, told.asked.since === null ? null : since, until, rows, at);
    if (names === null || names.length < 2) return null;
    const words = { all: t(`use.measure.${measure}`), nobody: t("use.nobody"), others: t("use.others") };
    const middle = Math.floor((names.length - 1) / 2);
    return {
      names,
      series: seriesOf(rows, by, split, measure, names, words),
      ticks: [
        { at: 0, text: slotName(names[0]) },
        { at: 0.5, text: slotName(names[middle]) },
        { at: 1, text: slotName(names.at(-1)) },
      ],
    };
  }, [told, measure]);
  if (drawn === null) return html`<${Bars} told=${told} measure=${measure} />`;
  const { names, series, ticks } = drawn;
  return html`<div class="card use-chart">
    <h3>${t(`use.measure.${measure}`)}</h3>
    <${Chart}
      kind="bars"
      label=${t("use.chart", { measure: t(`use.measure.${measure}`), by: t(`use.by.${by}`) })}
      series=${series}
      ticks=${ticks}
      whole=${measure !== "cost"}
      format=${measure === "cost" ? money : short}
      pointName=${(place) => slotName(names[place])}
    />
  </div>`;
}

/** The largest groups as lying bars. */
function Bars({ told, measure }) {
  const { rows, by } = told;
  const sums = new Map();
  for (const row of rows) sums.set(row[by], (sums.get(row[by]) ?? 0) + measured(row, measure));
  const all = [...sums].sort((a, b) => (isTime(by) ? (a[0] < b[0] ? 1 : -1) : b[1] - a[1]));
  const most = Math.max(...all.map(([, value]) => value));
  const say = measure === "cost" ? money : whole;
  return html`<div class="card use-chart">
    <h3>${t(`use.measure.${measure}`)}</h3>
    <ul class="lying-bars">
      ${all.slice(0, MOST_BARS).map(
        ([name, value]) =>
          html`<li key=${name}>
            <span class="lying-name">${(isTime(by) ? slotName(name) : name) || t("use.nobody")}</span>
            <span class="lying-bar" aria-hidden="true">
              <span style=${{ width: most > 0 ? `${(100 * value) / most}%` : 0 }} />
            </span>
            <span class="lying-value">${say(value)}</span>
          </li>`,
      )}
    </ul>
    ${all.length > MOST_BARS && html`<p class="faint">${t("use.more_bars", { count: all.length - MOST_BARS })}</p>`}
  </div>`;
}

function Day({ name, value, min, max, onSet }) {
  return html`<label class="use-choice">
    <span>${t(`use.${name}`)}</span>
    <input
      type="date"
      value=${value}
      min=${min || undefined}
      max=${max || undefined}
      onChange=${(event) => onSet(event.target.value)}
    />
  </label>`;
}

function Choice({ name, words, value, onSet }) {
  const id = useId();
  return html`<div class="use-choice">
    <label for=${id}>${t(`use.${name}`)}</label>
    <select id=${id} onChange=${(event) => onSet(event.target.value)}>
      ${words.map(
        (word) =>
          html`<option key=${word} value=${word} selected=${word === value}>
            ${t(`use.${name}.${word || "none"}`)}
          </option>`,
      )}
    </select>
  </div>`;
}

/** What the sums are really of: the ledger keeps only whole hours or days of what is old. */
function said({ since, until, at }) {
  const to = until === null ? moment(at) : moment(until);
  return since === null ? t("use.of_all", { to }) : t("use.of_span", { from: moment(since), to });
}

/** A day or hour of UTC, as it is. */
function slotName(name) {
  return name.length > 10 ? `${name.slice(0, 10)} ${name.slice(11, 16)}` : name;
}

function percent(part, all) {
  return all ? Number(((100 * part) / all).toPrecision(2)) : 0;
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 0);
}
