/** What stands in the place of a comparison where there is nobody to be asked. */
import { html } from "../lib/html.js";
import { go } from "../lib/router.js";
import { mayAddModels, originOfModels } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { EmptyState } from "../components/notes.js";

/** With the way to add a model, for those who may. */
export function NoModels() {
  return html`<${EmptyState} icon="compare" title=${t("chat.no_models")}>
    <p>${t(originOfModels())}</p>
    ${mayAddModels() && html`<${Button} icon="plus" onClick=${() => go("models")}>${t("chat.add_model")}<//>`}
  <//>`;
}
