/** The settings of a model as a form: those that most need first, the rest folded. */
import { html, useId } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Field } from "../components/field.js";
import { POLICIES, RECOVERIES } from "./entry.js";
import { Fold } from "./fold.js";
import { namesOf } from "./shape.js";
import { views } from "./watched.js";

const WITH_WEIGHTS = ["weighted", "lottery", "shortest_queue"];
const PLAIN = { spellcheck: false, autocomplete: "off" };
const MORE = ["queue", "weights", "recover", "env", "prompt", "completion", "cached"];

/**
 * form: as entry.js has it; onChange: gets what is different; errors: texts by field; without: fields to leave
 * out; adding: its first source stands elsewhere.
 */
export function EntryForm({ form, onChange, errors, without = [], adding = false }) {
  const names = useId();
  const typed = (name) => (event) => onChange({ [name]: event.target.value });
  const text = (name, { label = `models.field.${name}`, help = true, rows = 0, ...more } = {}) => {
    if (without.includes(name)) return null;
    const common = { name, ...PLAIN, value: form[name], onInput: typed(name), ...more };
    return html`<${Field}
      key=${name}
      label=${t(label)}
      help=${help ? t(`models.field.${name}.help`) : undefined}
      error=${errors[name]}
      render=${(at) =>
        rows ? html`<textarea ...${at} rows=${rows} ...${common} />` : html`<input ...${at} ...${common} />`}
    />`;
  };
  const choice = (name, words) => html`<${Field}
    key=${name}
    label=${t(`models.field.${name}`)}
    help=${t(`models.${name}.${form[name]}`)}
    error=${errors[name]}
    render=${(at) => html`<select ...${at} name=${name} value=${form[name]} onChange=${typed(name)}>
      ${words.map((word) => html`<option key=${word} value=${word}>${word.replaceAll("_", " ")}</option>`)}
    </select>`}
  />`;
  const tick = (name) => html`<div class="tick-field">
    <label class="tick">
      <input
        type="checkbox"
        name=${name}
        checked=${form[name]}
        onChange=${(event) => onChange({ [name]: event.target.checked })}
      />
      <span>${t(`models.field.${name}`)}</span>
    </label>
    <p class="field-help">${t(`models.field.${name}.help`)}</p>
    ${errors[name] && html`<p class="field-error">${errors[name]}</p>`}
  </div>`;
  const digits = { inputmode: "numeric" };
  const money = { inputmode: "decimal", help: false };
  const weighted = WITH_WEIGHTS.includes(form.policy) || form.weights !== "";
  return html`<div class="entry-form">
    <datalist id=${names}>
      ${namesOf(views.value ?? []).map((name) => html`<option key=${name} value=${name} />`)}
    </datalist>
    ${text("sources", { rows: 2, label: adding ? "models.field.more_sources" : undefined })}
    ${text("options", { rows: 3, placeholder: "context=8192" })}
    <div class="fields">
      ${text("replicas", { ...digits, placeholder: "1" })}
      ${text("slots", digits)}
      ${text("ttl", { placeholder: "10m" })}
      ${choice("policy", POLICIES)}
      ${text("fallback", { list: names })}
      ${text("aliases")}
      ${text("key", { placeholder: "env:NAME" })}
    </div>
    <div class="fields">${tick("preload")} ${tick("pinned")}</div>
    <${Fold} summary=${t("models.form.more")} needed=${MORE.some((name) => errors[name])}>
      <div class="fields">
        ${text("queue", digits)}
        ${choice("recover", RECOVERIES)}
        ${weighted && text("weights", { placeholder: "2, 1" })}
      </div>
      <fieldset>
        <legend>${t("models.field.price")}</legend>
        <div class="fields">
          ${text("prompt", { ...money, placeholder: "0" })}
          ${text("completion", { ...money, placeholder: "0" })}
          ${text("cached", money)}
        </div>
      </fieldset>
      ${text("env", { rows: 2, placeholder: "CUDA_VISIBLE_DEVICES=0" })}
    <//>
  </div>`;
}
