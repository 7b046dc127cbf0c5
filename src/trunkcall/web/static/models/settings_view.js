/** A model's settings: what they are, where they stand, and how they are changed. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { reload, underWay } from "./acts.js";
import { formOf } from "./entry.js";
import { standsIn } from "./shape.js";
import { settings } from "./watched.js";

const FIELDS = [
  "replicas",
  "slots",
  "queue",
  "ttl",
  "pinned",
  "preload",
  "policy",
  "weights",
  "recover",
  "fallback",
  "aliases",
  "prompt",
  "completion",
  "cached",
  "key",
  "options",
  "env",
];

/** onEdit: shows the form of an added model. */
export function SettingsView({ model, locked, onEdit }) {
  if (settings.value === null) return null;
  const { kind, place } = standsIn(settings.value, model.name);
  const form = formOf(model.sources, settings.value.settings.models[model.name] ?? {});
  const told = FIELDS.filter(
    (field) =>
      form[field] &&
      !(field === "policy" && form.policy === "least_loaded") &&
      !(field === "recover" && form.recover === "auto"),
  );
  return html`<section class="model-settings" aria-labelledby="settings-title">
    <div class="list-head">
      <h2 id="settings-title">${t("models.settings")}</h2>
      ${kind === "added" && !locked && html`<${Button} icon="edit" onClick=${onEdit}>${t("models.edit")}<//>`}
      ${kind === "file" &&
      !locked &&
      settings.value.reloads &&
      html`<${Button} icon="again" onClick=${reload} disabled=${underWay.value[""] === "reload"}>
        ${t("models.reload")}
      <//>`}
    </div>
    <p class="faint">${t(`models.stands.${kind}`, { place: place.replace(/: models\..*$/, "") })}</p>
    <dl class="facts wide">
      ${told.map(
        (field) => html`<div key=${field}>
          <dt>${t(`models.shown.${field}`)}</dt>
          <dd>${form[field] === true ? t("models.yes") : html`<code>${form[field]}</code>`}</dd>
        </div>`,
      )}
    </dl>
    ${told.length === 0 && kind !== "registered" && html`<p>${t("models.settings.default")}</p>`}
  </section>`;
}
