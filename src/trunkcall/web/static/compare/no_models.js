/** What stands in the place of a comparison where there is nobody to be asked. */
import { html } from "../lib/html.js";
import { go } from "../lib/router.js";
import { isAdmin, session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { EmptyState } from "../components/notes.js";

/** With the way to add a model, for those who may. */
export function NoModels() {
  const may = isAdmin() && !session.value.locked;
  return html`<${EmptyState} icon="compare" title=${t("chat.no_models")}>
    <p>${t(may ? "chat.no_models_admin" : "chat.no_models_user")}</p>
    ${may && html`<${Button} icon="plus" onClick=${() => go("models")}>${t("chat.add_model")}<//>`}
  <//>`;
}
