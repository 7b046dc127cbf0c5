/** Choosing a model: its name on a button, and all that may be asked with how they do in a list under it. */
import { html, useEffect, useId, useRef, useState } from "../lib/html.js";
import { whole } from "../lib/format.js";
import { modelOf, models, modelsError, refreshModels } from "../lib/models.js";
import { mayAddModels } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Icon } from "./icon.js";
import { ModelState } from "./model_state.js";
import { ErrorNote, Waiting } from "./notes.js";
import { Popup } from "./popup.js";

/** From so many on there is a field to search them. */
const MANY = 8;

/**
 * value: the name of a model or adapter, empty for none; onChange(name); label: what it is for; only(model): whether
 * a model is offered; disabled: it cannot be changed now.
 */
export function ModelPicker({ value, onChange, label = t("picker.label"), only = () => true, disabled = false }) {
  useStylesheet("styles/asking.css");
  const model = modelOf(value);
  const shown = value || t("picker.none");
  const said = model ? t(`state.${model.state}`) : t(value && models.value ? "picker.gone" : "picker.choose");
  return html`<${Popup}
    role="dialog"
    label=${label}
    class="picker-popup"
    button=${(at) => html`<button
      type="button"
      ...${at}
      class="button picker"
      aria-label=${`${label}: ${shown}, ${said}`}
      title=${`${shown}: ${said}`}
      disabled=${disabled}
    >
      <span class=${`picker-dot ${model?.state ?? "gone"}`} aria-hidden="true" />
      <span class="picker-name">${shown}</span>
      <${Icon} name="down" size=${16} />
    </button>`}
  >
    ${(close) => html`<${Choices}
      value=${value}
      label=${label}
      only=${only}
      onPick=${(name) => {
        close();
        if (name !== value) onChange(name);
      }}
    />`}
  <//>`;
}

function Choices({ value, label, only, onPick }) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const [active, setActive] = useState(value);
  const focused = useRef(null);
  const list = useRef(null);
  const entries = (models.value ?? [])
    .filter(only)
    .flatMap((model) => [model.name, ...model.adapters].map((name) => ({ name, model, adapter: name !== model.name })));
  const searched = entries.length >= MANY;
  useEffect(() => {
    refreshModels();
  }, []);
  useEffect(() => focused.current?.focus(), [models.value === null, searched]);
  useEffect(() => {
    list.current?.querySelector("[data-active]")?.scrollIntoView({ block: "nearest" });
  }, [active]);
  if (models.value === null) {
    return modelsError.value
      ? html`<${ErrorNote} error=${modelsError.value} onRetry=${refreshModels} />`
      : html`<${Waiting} />`;
  }
  if (!entries.length) {
    return html`<p class="picker-empty">${t(mayAddModels() ? "picker.empty" : "chat.no_models_open")}</p>`;
  }
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const found = entries.filter(({ name, model }) => {
    const text = [name, ...model.aliases, model.description].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const at = found.findIndex((entry) => entry.name === active);
  const onKeyDown = (event) => {
    const before = at < 0 ? found.length - 1 : at - 1;
    const to = { ArrowDown: at + 1, ArrowUp: before, Home: 0, End: found.length - 1 }[event.key];
    if (event.key === "Enter") onPick(found[Math.max(0, at)]?.name ?? value);
    else if (to === undefined || (typed && (event.key === "Home" || event.key === "End"))) return;
    else if (found.length) setActive(found[(to + found.length) % found.length].name);
    event.preventDefault();
  };
  const control = {
    ref: focused,
    onKeyDown,
    "aria-activedescendant": at < 0 ? undefined : `${id}-${at}`,
    "aria-label": label,
  };
  return html`${searched &&
    html`<input
      ...${control}
      type="search"
      role="combobox"
      aria-expanded="true"
      aria-controls=${id}
      autocomplete="off"
      spellcheck="false"
      placeholder=${t("picker.search", { count: entries.length })}
      value=${typed}
      onInput=${(event) => setTyped(event.target.value)}
    />`}
    <div ref=${list} class="picker-list">
      <div ...${searched ? {} : { ...control, tabindex: 0 }} id=${id} role="listbox" aria-label=${label}>
        ${found.map(
          (entry, index) => html`<${Choice}
            key=${entry.name}
            id=${`${id}-${index}`}
            ...${entry}
            chosen=${entry.name === value}
            active=${index === at}
            onPick=${onPick}
          />`,
        )}
      </div>
    </div>
    ${!found.length && html`<p class="picker-empty" role="status">${t("picker.nothing", { typed })}</p>`}`;
}

function Choice({ id, name, model, adapter, chosen, active, onPick }) {
  const about = [
    adapter ? t("picker.adapter", { model: model.name }) : model.description,
    model.context && t("picker.context", { tokens: whole(model.context) }),
    model.images && t("picker.images"),
    model.waiting > 0 && t("picker.waiting", { count: model.waiting }),
  ].filter(Boolean);
  return html`<div
    id=${id}
    role="option"
    aria-selected=${chosen ? "true" : "false"}
    data-active=${active ? "" : undefined}
    class="picker-option"
    onClick=${() => onPick(name)}
  >
    <span class="picker-check">${chosen && html`<${Icon} name="check" size=${16} />`}</span>
    <span class="picker-name">${name}</span>
    <${ModelState} state=${model.state} progress=${model.progress} />
    <span class="picker-about">${about.join(" · ")}</span>
    ${model.state === "loading" && model.progress && html`<span class="picker-about">${model.progress}</span>`}
    ${model.state === "failed" && model.error && html`<span class="picker-about picker-why">${model.error}</span>`}
  </div>`;
}
