/** What the server does now as big figures, each over its last ten minutes as a chart; of all models or of one. */
import { html, useMemo } from "../lib/html.js";
import { duration, short } from "../lib/format.js";
import { STEPS, STEP_MS } from "../lib/rates.js";
import { t } from "../lib/strings.js";
import { Chart } from "../components/chart.js";
import { Figure } from "../components/figure.js";
import { chartEnd, recent, serverNow, status, tick } from "./observed.js";
import { filter } from "./stories.js";

/** So many models have a colour of their own among the errors. */
const MOST_MODELS = 5;
const A_MINUTE = 60_000 / STEP_MS;

const TICKS = [
  { at: 0, text: t("operate.minutes_ago", { count: 10 }) },
  { at: 0.5, text: t("operate.minutes_ago", { count: 5 }) },
  { at: 1, text: t("operate.now") },
];

// What is recent is written in place; that `tick` is read makes a component be drawn again when it was.

/** All of them; of the model that the requests are filtered by, where they are. */
export function FiguresView() {
  void tick.value;
  const model = filter.value.model || null;
  const now = serverNow();
  const past = recent.value;
  const counted = status.value.models.filter((one) => model === null || one.name === model);
  const sum = (field) => counted.reduce((total, one) => total + one[field], 0);
  const failed = past.total("failed", now, model);
  const first = past.latestFirst(0.5, now, model);
  const slow = past.latestFirst(0.95, now, model);
  const waiting = sum("waiting");
  return html`<section aria-labelledby="figures-title">
    <h2 id="figures-title" class="list-title">
      ${model === null ? t("operate.figures") : t("operate.figures_of", { model })}
    </h2>
    <div class="figures">
      <${Rate} field="requests" label=${t("operate.requests_rate")} model=${model} />
      <${Rate} field="tokens" label=${t("operate.tokens_rate")} model=${model} />
      <div class="card">
        <${Figure}
          label=${t("operate.first_token")}
          value=${first === null ? t("chart.unknown") : duration(first)}
          unit=${t("operate.median")}
          note=${slow === null ? t("operate.first_none") : t("operate.slowest", { time: duration(slow) })}
        />
        <${Past} kind="first" label=${t("operate.first_token")} model=${model} />
      </div>
      <div class="card">
        <${Figure}
          label=${t("operate.waiting")}
          value=${short(waiting)}
          kind=${waiting > 0 ? "warning" : ""}
          note=${t("operate.waiting.means")}
        />
        <${Past} kind="waiting" label=${t("operate.waiting")} model=${model} />
      </div>
      <div class="card">
        <${Figure} label=${t("operate.running")} value=${short(sum("running"))} note=${t("operate.running.means")} />
        <${Past} kind="running" label=${t("operate.running")} model=${model} />
      </div>
      <div class="card">
        <${Figure}
          label=${t("operate.errors")}
          value=${short(Math.round(failed))}
          unit=${t("operate.in_ten_minutes")}
          kind=${Math.round(failed) > 0 ? "danger" : ""}
          note=${t("operate.errors.means")}
        />
        <${Past} kind="errors" label=${t("operate.errors")} model=${model} />
      </div>
    </div>
  </section>`;
}

function Rate({ field, label, model }) {
  void tick.value;
  const now = recent.value.latest(field, serverNow(), model);
  const all = status.value.models.filter((one) => model === null || one.name === model);
  const count = all.reduce((sum, one) => sum + (field === "tokens" ? one.completion_tokens : one.requests), 0);
  return html`<div class="card">
    <${Figure}
      label=${label}
      value=${now === null ? t("chart.unknown") : perSecond(now)}
      unit=${t("operate.per_second")}
      note=${t("operate.since_start", { count: short(count) })}
    />
    <${Past} kind=${field} label=${label} model=${model} />
  </div>`;
}

/** A chart; it is drawn when a step is complete, not at every look. */
function Past({ kind, label, model }) {
  void tick.value;
  const end = chartEnd();
  const past = recent.value;
  return useMemo(() => {
    const pointName = (at) => clock(end - (STEPS - 1 - at) * STEP_MS);
    return html`<${Chart}
      label=${t("operate.over_time", { label })}
      series=${seriesOf(past, kind, label, end, model)}
      kind=${kind === "errors" ? "bars" : "lines"}
      whole=${["errors", "waiting", "running"].includes(kind)}
      format=${kind === "first" ? mark : perSecond}
      ticks=${TICKS}
      pointName=${pointName}
      every=${A_MINUTE}
    />`;
  }, [end, past, past.since, model]);
}

function seriesOf(past, kind, label, end, model) {
  if (kind === "first") {
    return [
      { name: t("operate.median"), values: past.firsts(0.5, end, model) },
      { name: t("operate.p95"), values: past.firsts(0.95, end, model) },
    ];
  }
  if (kind === "errors" && model === null) return errorsByModel(past, end);
  const values = kind === "errors" ? past.sums("failed", end, model).map(rounded) : past.rates(kind, end, model);
  return [{ name: model ?? label, values }];
}

function errorsByModel(past, end) {
  const failing = past
    .models()
    .map((name) => ({
      name,
      values: past.sums("failed", end, name).map(rounded),
      total: past.total("failed", end, name),
    }))
    .filter((one) => one.total > 0)
    .sort((a, b) => b.total - a.total);
  const shown = failing
    .slice(0, MOST_MODELS)
    .map(({ name, values }) => ({ name: name || t("operate.no_model"), values }));
  const others = failing.slice(MOST_MODELS);
  if (others.length) {
    const values = others[0].values.map((_, at) => others.reduce((sum, one) => sum + (one.values[at] ?? 0), 0));
    shown.push({ name: t("operate.other_models", { count: others.length }), values });
  }
  return shown.length ? shown : [{ name: t("operate.errors"), values: past.sums("failed", end) }];
}

/** An error between two steps is counted in parts. */
const rounded = (value) => (value === null ? null : Math.round(value));

/** A moment of the server's clock, as the clock here has it. */
const clock = (at) => new Date(at).toLocaleTimeString(undefined, { hourCycle: "h23" });

function perSecond(value) {
  if (value === 0) return "0";
  return value < 10 ? String(Number(value.toPrecision(2))) : short(Math.round(value));
}

/** A time at a scale's mark. */
function mark(ms) {
  return ms > 0 && ms < 1 ? `${Number(ms.toPrecision(2))} ms` : duration(ms);
}
