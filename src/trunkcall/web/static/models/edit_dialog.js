/** Changing the settings of a model that was added. */
import { html, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { ErrorNote } from "../components/notes.js";
import { notify } from "../components/toast.js";
import { change } from "./acts.js";
import { Cost } from "./cost.js";
import { changesOf, entryOf, fieldOf, formOf } from "./entry.js";
import { EntryForm } from "./entry_form.js";
import { settings } from "./watched.js";

/** model: as GET /admin/models tells it. */
export function EditDialog({ model, onClose }) {
  const [before] = useState(() => formOf(model.sources, settings.value.settings.models[model.name]));
  const [form, setForm] = useState(before);
  const [errors, setErrors] = useState({});
  const [failure, setFailure] = useState(null);
  const [busy, setBusy] = useState(false);
  const { entry, errors: unread } = entryOf(form);
  const changes = changesOf(before, form);
  const many = Object.keys(changes).length;
  const sources = [entry.source ?? []].flat();
  const refuse = (error) => {
    const field = error ? fieldOf(error.param, form) : "";
    setErrors(field ? { [field]: error.message } : {});
    setFailure(field ? null : error);
  };
  const submit = async (event) => {
    event.preventDefault();
    if (Object.keys(unread).length || many === 0) return;
    setBusy(true);
    refuse(null);
    try {
      await change(model.name, { settings: changes });
      notify(t("models.changed", { name: model.name }));
      onClose();
    } catch (error) {
      refuse(error);
      setBusy(false);
    }
  };
  const foot = html`
    <span class="faint dialog-note">
      ${t(many ? "models.edit.changes" : "models.edit.none", { count: many })}
    </span>
    <${Button} onClick=${onClose}>${t("cancel")}<//>
    <${Button} kind="primary" type="submit" form="edit-model" disabled=${busy || many === 0}>${t("save")}<//>
  `;
  const title = t("models.edit.title", { name: model.name });
  return html`<${Dialog} title=${title} onClose=${onClose} foot=${foot} wide=${true}>
    <form id="edit-model" onSubmit=${submit} novalidate>
      <p class="faint">${t("models.edit.say")}</p>
      <${EntryForm}
        form=${form}
        errors=${{ ...errors, ...unread }}
        onChange=${(changed) => {
          setErrors({});
          setForm((now) => ({ ...now, ...changed }));
        }}
      />
      ${sources.length === 1 && html`<${Cost} source=${sources[0]} entry=${entry} onError=${refuse} />`}
      ${failure && html`<${ErrorNote} error=${failure} />`}
    </form>
  <//>`;
}
