/** How a column, or both of a battle, are asked: parameters, system prompt and template. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { ParameterPanel } from "../components/parameter_panel.js";
import { PromptSettings } from "../components/prompt_settings.js";

/**
 * title; model: for its defaults, empty while it is not known; settings: {system, template, parameters};
 * onChange(settings): some of them, new; onAll: give them to all columns, undefined where there are no
 * others.
 */
export function SettingsDialog({ title, model, settings, onChange, onAll, onClose }) {
  const { system, template, parameters } = settings;
  return html`<${Dialog}
    title=${title}
    onClose=${onClose}
    foot=${html`${onAll && html`<${Button} icon="copy" onClick=${onAll}>${t("compare.settings_all")}<//>`}
      <${Button} kind="primary" onClick=${onClose}>${t("compare.settings_done")}<//>`}
  >
    <${ParameterPanel} model=${model} values=${parameters} onChange=${(values) => onChange({ parameters: values })} />
    <h3 class="settings-before">${t("compare.settings_before")}</h3>
    <${PromptSettings} system=${system} template=${template} onChange=${onChange} />
  <//>`;
}
