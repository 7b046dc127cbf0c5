/** A model's LoRA adapters: those that it answers for, one more, and one less. */
import { html, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button, IconButton } from "../components/button.js";
import { Field } from "../components/field.js";
import { notify } from "../components/toast.js";
import { change } from "./acts.js";
import { settings } from "./watched.js";

const typed = (set) => (event) => set(event.target.value);

/** model: whose engine is started here; locked: adapters are only looked at. */
export function Adapters({ model, locked }) {
  const [name, setName] = useState("");
  const [path, setPath] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const paths = pathsOf(model.name);
  const put = async (lora, done) => {
    setBusy(true);
    setError("");
    try {
      await change(model.name, { lora });
      done();
    } catch (failure) {
      setError(failure.message);
    }
    setBusy(false);
  };
  const submit = (event) => {
    event.preventDefault();
    put({ [name.trim()]: path.trim() }, () => {
      notify(t("models.lora.added", { name: name.trim() }));
      setName("");
      setPath("");
    });
  };
  const drop = (one) => put({ [one]: null }, () => notify(t("models.lora.dropped", { name: one })));
  if (locked && model.adapters.length === 0) return null;
  return html`<section class="adapters" aria-labelledby="adapters-title">
    <h2 id="adapters-title">${t("models.lora")}</h2>
    <p class="faint">${t(model.adapters.length ? "models.lora.say" : "models.lora.none")}</p>
    <ul class="adapter-list">
      ${model.adapters.map(
        (one) => html`<li key=${one}>
          <span><strong>${one}</strong> <code>${paths[one]}</code></span>
          ${!locked &&
          html`<${IconButton}
            icon="trash"
            label=${t("models.lora.drop", { name: one })}
            disabled=${busy}
            onClick=${() => drop(one)}
          />`}
        </li>`,
      )}
    </ul>
    ${!locked &&
    html`<form class="adapter-form" onSubmit=${submit}>
      <${Field}
        label=${t("models.lora.name")}
        render=${(at) => html`<input ...${at} required value=${name} onInput=${typed(setName)} />`}
      />
      <${Field}
        label=${t("models.lora.path")}
        render=${(at) => html`<input
          ...${at}
          required
          value=${path}
          placeholder="/models/my-adapter"
          onInput=${typed(setPath)}
        />`}
      />
      <${Button} type="submit" icon="plus" disabled=${busy || !name.trim() || !path.trim()}>
        ${t("models.lora.add")}
      <//>
    </form>`}
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
  </section>`;
}

/** Where adapters were loaded from, by name; llama.cpp's have no names. */
function pathsOf(name) {
  const lora = settings.value?.settings.models[name]?.options?.lora ?? {};
  return Array.isArray(lora) ? {} : lora;
}
