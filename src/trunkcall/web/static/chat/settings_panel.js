/** How the open conversation is asked: system prompt, template, parameters, and a link that brings them along. */
import { copyText } from "../lib/clipboard.js";
import { html } from "../lib/html.js";
import { linkOf } from "../lib/settings_link.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { ParameterPanel } from "../components/parameter_panel.js";
import { PromptSettings } from "../components/prompt_settings.js";
import { notify } from "../components/toast.js";
import { current, modelOfCurrent, settle } from "./conversations.js";

/** In a column beside the conversation, or in a dialog over it. */
export function SettingsPanel() {
  const { id, system, template, parameters } = current.value.data.value;
  const model = modelOfCurrent();
  const copyLink = async () => {
    const link = linkOf({ model, system, template, parameters }, location);
    try {
      await copyText(link);
      notify(t("settings.link_copied"));
    } catch {
      notify(t("settings.link", { link }));
    }
  };
  return html`<div key=${id} class="settings">
    <${PromptSettings} system=${system} template=${template} onChange=${settle} />
    <h3>${t("settings.parameters")}</h3>
    <${ParameterPanel} model=${model} values=${parameters} onChange=${(values) => settle({ parameters: values })} />
    <${Button} icon="link" onClick=${copyLink}>${t("settings.copy_link")}<//>
  </div>`;
}
