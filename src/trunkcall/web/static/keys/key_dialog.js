/** The form of a key, new or to be changed, with what is wrong at its fields. */
import { html, useId, useRef, useState } from "../lib/html.js";
import { models } from "../lib/models.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { Field } from "../components/field.js";
import { Icon } from "../components/icon.js";
import { COUNTS, MONEY, changesOf, formOf, read } from "./key_form.js";

const ROLES = ["user", "admin"];

/**
 * view: of the key that is changed, null for a new one; first: nobody needs a key yet; onSave(entry or changes): gives
 * a promise, whose ApiError is shown.
 */
export function KeyDialog({ view = null, first = false, onSave, onClose }) {
  const before = view?.entry ?? null;
  const [form, setForm] = useState(() => (first ? { ...formOf(), role: "admin" } : formOf(before)));
  const [refusal, setRefusal] = useState({});
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const element = useRef(null);
  const id = useId();
  const { entry, errors } = read(form, Date.now() / 1000, before);
  const changes = before ? changesOf(before, entry) : entry;
  const unchanged = before !== null && Object.keys(changes).length === 0;
  const wrong = (name) =>
    refusal[name] ?? (errors[name] && (tried || form[name] !== "") ? t(`keys.wrong.${errors[name]}`) : undefined);
  const set = (name, value) => {
    setForm((now) => ({ ...now, [name]: value }));
    setRefusal({});
  };
  const submit = async (event) => {
    event.preventDefault();
    setTried(true);
    if (Object.keys(errors).length > 0) {
      focusOn(element.current, Object.keys(errors));
      return;
    }
    setBusy(true);
    try {
      await onSave(changes);
    } catch (error) {
      const field = error.param?.split(/[.[]/)[0];
      setRefusal({ [field in form ? field : ""]: error.message });
      setBusy(false);
      if (field in form) focusOn(element.current, [field]);
    }
  };
  const text = (name, more = {}) => html`<${Field}
    key=${name}
    label=${t(`keys.field.${name}`)}
    help=${more.help && t(`keys.field.${name}.help`)}
    error=${wrong(name)}
    class=${more.class ?? ""}
    render=${(at) => html`<input
      ...${at}
      name=${name}
      type=${more.type}
      inputmode=${more.inputmode}
      list=${more.list}
      placeholder=${more.placeholder}
      autofocus=${more.autofocus}
      autocomplete="off"
      autocapitalize="off"
      spellcheck="false"
      value=${form[name]}
      onInput=${(event) => set(name, event.target.value)}
    />`}
  />`;
  const foot = html`
    ${unchanged && html`<span class="dialog-said faint">${t("keys.unchanged")}</span>`}
    <${Button} onClick=${onClose}>${t("cancel")}<//>
    <${Button} kind="primary" type="submit" form=${id} disabled=${busy || unchanged}>
      ${t(before ? "save" : busy ? "keys.making" : "keys.make")}
    <//>
  `;
  return html`<${Dialog}
    title=${before ? t("keys.limits_of", { name: before.name }) : t("keys.new")}
    wide
    onClose=${onClose}
    foot=${foot}
  >
    <form id=${id} ref=${element} class="key-form" onSubmit=${submit}>
      ${first && html`<p class="key-note"><${Icon} name="info" size=${18} /><span>${t("keys.first")}</span></p>`}
      <p class="field-error" role="alert">${refusal[""]}</p>
      <div class="fields">
        ${!before && text("name", { help: true, placeholder: "team-a", autofocus: true })}
        <${Field}
          label=${t("keys.field.role")}
          help=${t(`keys.role.${form.role}`)}
          error=${wrong("role")}
          render=${(at) =>
            html`<select ...${at} name="role" disabled=${first} onChange=${(event) => set("role", event.target.value)}>
              ${ROLES.map(
                (role) =>
                  html`<option key=${role} value=${role} selected=${role === form.role}>${t(`role.${role}`)}</option>`,
              )}
            </select>`}
        />
        ${text("expires_at", { help: true, type: "datetime-local" })}
      </div>
      <${ModelChoice} value=${form.models} error=${wrong("models")} onSet=${(value) => set("models", value)} />
      <fieldset>
        <legend>${t("keys.limits")}</legend>
        <p class="faint">${t("keys.limits.say")}</p>
        <div class="fields">
          ${COUNTS.map((name) => text(name, { inputmode: "numeric", placeholder: t("keys.no_limit") }))}
          ${MONEY.map((name) => text(name, { inputmode: "decimal", placeholder: t("keys.no_limit") }))}
        </div>
      </fieldset>
    </form>
  <//>`;
}

/** Names between commas, and those that there are as ticks beside. */
function ModelChoice({ value, error, onSet }) {
  const named = value
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  const turn = (name) =>
    onSet((named.includes(name) ? named.filter((one) => one !== name) : [...named, name]).join(", "));
  const known = models.value ?? [];
  return html`<${Field}
      label=${t("keys.field.models")}
      help=${t("keys.field.models.help")}
      error=${error}
      class="key-models-field"
      render=${(at) =>
        html`<input
          ...${at}
          name="models"
          autocomplete="off"
          spellcheck="false"
          placeholder=${t("keys.all_models")}
          value=${value}
          onInput=${(event) => onSet(event.target.value)}
        />`}
    />
    <div class="model-ticks" role="group" aria-label=${t("keys.field.models")}>
      ${known.map(
        ({ name }) =>
          html`<label key=${name}>
            <input type="checkbox" checked=${named.includes(name)} onChange=${() => turn(name)} /> ${name}
          </label>`,
      )}
    </div>`;
}

function focusOn(form, names) {
  [...form.elements].find((field) => names.includes(field.name))?.focus();
}
