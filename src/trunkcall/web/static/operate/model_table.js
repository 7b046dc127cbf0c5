/** What each model does, the busiest first; one of them can be looked at by itself. */
import { html, useState } from "../lib/html.js";
import { duration, short, whole } from "../lib/format.js";
import { modelOf } from "../lib/models.js";
import { address } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { Button, IconButton } from "../components/button.js";
import { ModelState } from "../components/model_state.js";
import { recent, serverNow, status, tick } from "./observed.js";
import { filter } from "./stories.js";

const SHOWN = 12;

/** All models that the server has, from what is observed. */
export function ModelTable() {
  void tick.value;
  const [all, setAll] = useState(false);
  const now = serverNow();
  const past = recent.value;
  const rows = status.value.models.toSorted(
    (a, b) => b.running + b.waiting - a.running - a.waiting || b.requests - a.requests || a.name.localeCompare(b.name),
  );
  const chosen = filter.value.model;
  const choose = (name) => {
    filter.value = { ...filter.value, model: chosen === name ? "" : name };
  };
  return html`<section aria-labelledby="by-model-title">
    <h2 id="by-model-title" class="list-title">${t("operate.by_model")}</h2>
    ${rows.length === 0 && html`<p class="faint">${t("operate.no_models")}</p>`}
    ${rows.length > 0 &&
    html`<div class="table-frame" tabindex="0" role="group" aria-labelledby="by-model-title">
      <table class="by-model">
        <thead>
          <tr>
            <th scope="col">${t("operate.model")}</th>
            <th scope="col">${t("operate.state")}</th>
            ${[
              "running",
              "waiting",
              "requests_rate",
              "tokens_rate",
              "first_median",
              "p95",
              "requests",
              "tokens",
              "errors",
            ].map((name) => html`<th key=${name} scope="col" class="number">${t(`operate.column.${name}`)}</th>`)}
            <th scope="col"><span class="visually-hidden">${t("operate.look")}</span></th>
          </tr>
        </thead>
        <tbody>
          ${rows
            .slice(0, all ? rows.length : SHOWN)
            .map(
              (one) =>
                html`<${Row}
                  key=${one.name}
                  one=${one}
                  past=${past}
                  now=${now}
                  chosen=${chosen === one.name}
                  onChoose=${choose}
                />`,
            )}
        </tbody>
      </table>
    </div>`}
    ${rows.length > SHOWN &&
    html`<${Button} kind="quiet" onClick=${() => setAll(!all)}>
      ${all ? t("operate.fewer_models") : t("operate.more_models", { count: rows.length })}
    <//>`}
  </section>`;
}

function Row({ one, past, now, chosen, onChoose }) {
  const known = modelOf(one.name);
  const rate = (field) => {
    const value = past.latest(field, now, one.name);
    return value === null
      ? t("chart.unknown")
      : value === 0
        ? "0"
        : value < 10
          ? value.toFixed(1)
          : short(Math.round(value));
  };
  const first = past.latestFirst(0.5, now, one.name) ?? one.first_token_ms;
  const slow = past.latestFirst(0.95, now, one.name);
  return html`<tr class=${chosen ? "chosen" : ""}>
    <th scope="row"><a href=${address("models", one.name)}>${one.name}</a></th>
    <td>${known && html`<${ModelState} state=${known.state} progress=${known.progress} />`}</td>
    <td class="number">${whole(one.running)}</td>
    <td class=${`number ${one.waiting ? "warn" : ""}`}>${whole(one.waiting)}</td>
    <td class="number">${rate("requests")}</td>
    <td class="number">${rate("tokens")}</td>
    <td class="number">${first === null ? t("chart.unknown") : duration(first)}</td>
    <td class="number">${slow === null ? t("chart.unknown") : duration(slow)}</td>
    <td class="number">${whole(one.requests)}</td>
    <td class="number">${short(one.prompt_tokens)}+${short(one.completion_tokens)}</td>
    <td class=${`number ${one.failed ? "bad" : ""}`}>${whole(one.failed)}</td>
    <td class="number">
      <${IconButton}
        icon="search"
        size=${18}
        pressed=${chosen}
        label=${t("operate.only", { model: one.name })}
        onClick=${() => onChoose(one.name)}
      />
    </td>
  </tr>`;
}
