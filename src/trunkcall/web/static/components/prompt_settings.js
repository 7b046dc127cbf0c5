/** What stands before a conversation: the system prompt, and the template that makes a prompt of it all. */
import { html, useEffect, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { loadTemplates, templates } from "../lib/templates.js";
import { Field } from "./field.js";

/**
 * system, template: texts, empty for what the model has itself; onChange({system, template}): both, new.
 */
export function PromptSettings({ system, template, onChange }) {
  useStylesheet("styles/asking.css");
  const [error, setError] = useState("");
  useEffect(() => {
    loadTemplates().catch((failure) => setError(failure.message));
  }, []);
  const known = templates.value ?? [];
  const own = known.find((one) => one.name === template);
  const names = known.map((one) => one.name);
  const offered = template && !own ? [template, ...names] : names;
  return html`<div class="prompt-settings">
    <${Field}
      label=${t("prompt.system")}
      help=${t("prompt.system.help")}
      render=${(at) => html`<textarea
        ...${at}
        rows="4"
        placeholder=${own?.system || t("prompt.system.none")}
        value=${system}
        onInput=${(event) => onChange({ system: event.target.value, template })}
      />`}
    />
    <${Field}
      label=${t("prompt.template")}
      help=${t("prompt.template.help")}
      error=${error}
      render=${(at) => html`<select
        ...${at}
        value=${template}
        onChange=${(event) => onChange({ system, template: event.target.value })}
      >
        <option value="" selected=${!template}>${t("prompt.template.own")}</option>
        ${offered.map((name) => html`<option key=${name} value=${name} selected=${name === template}>${name}</option>`)}
      </select>`}
    />
  </div>`;
}
