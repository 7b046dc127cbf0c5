/** All models as cards, found by name, source or state. */
import { html, useState } from "../lib/html.js";
import { bytes, whole } from "../lib/format.js";
import { portion } from "../lib/progress.js";
import { address } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { ModelState } from "../components/model_state.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { ModelActs } from "./model_acts.js";
import { Progress } from "./meter.js";
import { modelMemory, modelState, startsHere, work } from "./shape.js";

const SHOWN = 60;
/** So many are seen at one look. */
const FEW = 8;

/** models: without adapters; locked: nothing is loaded or unloaded here. */
export function ModelList({ models, locked }) {
  const [typed, setTyped] = useState("");
  const [most, setMost] = useState(SHOWN);
  const found = models.filter((model) => fits(model, typed));
  return html`<section aria-labelledby="list-title">
    <div class="list-head">
      <h2 id="list-title">${t("models.count", { count: models.length, whole: whole(models.length) })}</h2>
      ${models.length > FEW &&
      html`<label class="search">
        <${Icon} name="search" size=${18} />
        <span class="visually-hidden">${t("models.search")}</span>
        <input
          type="search"
          placeholder=${t("models.search")}
          value=${typed}
          onInput=${(event) => setTyped(event.target.value)}
        />
      </label>`}
    </div>
    ${found.length === 0 && html`<p class="faint" role="status">${t("models.search.none", { typed })}</p>`}
    <ul class="model-cards">
      ${found
        .slice(0, most)
        .map((model) => html`<${ModelCard} key=${model.name} model=${model} locked=${locked} />`)}
    </ul>
    ${found.length > most &&
    html`<${Button} onClick=${() => setMost(most + SHOWN)}>
      ${t("models.more", { count: found.length - most })}
    <//>`}
  </section>`;
}

function fits(model, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [
    model.name,
    ...model.aliases,
    ...model.adapters,
    ...model.sources,
    t(`state.${modelState(model)}`),
    ...model.replicas.map((replica) => replica.engine),
  ]
    .join(" ")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

function ModelCard({ model, locked }) {
  const state = modelState(model);
  const progress = model.replicas.find((replica) => replica.progress)?.progress ?? "";
  const error = model.replicas.find((replica) => replica.error)?.error ?? "";
  const sources = [...new Set(model.sources)];
  const others = [...model.aliases, ...model.adapters].join(", ");
  return html`<li class="card model-card">
    <div class="model-card-head">
      <h3><a href=${address("models", model.name)}>${model.name}</a></h3>
      <${ModelState} state=${state} progress=${progress} />
    </div>
    <p class="source" title=${sources.join("\n")}>
      <code>${sources[0]}</code>
      ${sources.length > 1 &&
      html`<span class="faint">${t("models.and_more", { count: sources.length - 1 })}</span>`}
    </p>
    ${others && html`<p class="faint also">${t("models.also", { names: others })}</p>`}
    ${state === "loading" &&
    html`<${Progress} done=${portion(progress)} label=${progress || t("state.loading")} />
      <p class="faint progress-words">${progress}</p>`}
    ${error && state !== "ready" && html`<p class="model-error">${error}</p>`}
    <${Figures} model=${model} />
    <${ModelActs} model=${model} locked=${locked} short=${true} />
  </li>`;
}

function Figures({ model }) {
  const { running, waiting, slots } = work(model);
  const all = model.replicas.length;
  const there = model.replicas.filter((replica) => replica.state === "ready").length;
  const memory = modelMemory(model);
  const taken = memory ? bytes(memory) : t(`models.memory.${startsHere(model) ? "none" : "elsewhere"}`);
  return html`<dl class="facts">
    <div><dt>${t("models.replicas")}</dt><dd>${t("models.replicas.there", { there, all })}</dd></div>
    <div>
      <dt>${t("models.running")}</dt>
      <dd>
        ${slots === null ? running : t("models.of", { some: running, all: slots })}
        ${waiting > 0 && html`<span class="warn">, ${t("models.waiting", { count: waiting })}</span>`}
      </dd>
    </div>
    <div><dt>${t("models.memory")}</dt><dd>${taken}</dd></div>
  </dl>`;
}
