/** One model: its replicas, adapters, settings, log and news. */
import { html, useState } from "../lib/html.js";
import { go } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { DeveloperCorner } from "../components/developer_corner.js";
import { LogView } from "../components/log_view.js";
import { ModelState } from "../components/model_state.js";
import { Adapters } from "./adapters.js";
import { EditDialog } from "./edit_dialog.js";
import { ModelActs } from "./model_acts.js";
import { NewsList } from "./news_list.js";
import { ReplicaCard } from "./replica_card.js";
import { SettingsView } from "./settings_view.js";
import { modelState, startsHere } from "./shape.js";

/** model: as GET /admin/models tells it; locked: it is only looked at. */
export function ModelDetails({ model, locked }) {
  const [editing, setEditing] = useState(false);
  const starting = model.replicas.find((replica) => replica.progress);
  const aliases = model.aliases.join(", ");
  const edit = () => setEditing(true);
  return html`<article class="model-details">
    <header class="model-head">
      <h1>${model.name}</h1>
      <${ModelState} state=${modelState(model)} progress=${starting?.progress} />
      ${aliases && html`<span class="faint">${t("models.also", { names: aliases })}</span>`}
      <${ModelActs} model=${model} locked=${locked} onEdit=${edit} onRemoved=${() => go("models")} />
    </header>
    <div class="model-columns">
      <div>
        <section aria-labelledby="replicas-title">
          <h2 id="replicas-title">${t("models.replicas")}</h2>
          <ul class="replicas">
            ${model.replicas.map(
              (replica) =>
                html`<${ReplicaCard} key=${replica.id} model=${model} replica=${replica} locked=${locked} />`,
            )}
          </ul>
        </section>
        ${startsHere(model) && html`<${Adapters} model=${model} locked=${locked} />`}
        <${SettingsView} model=${model} locked=${locked} onEdit=${edit} />
      </div>
      <div>
        ${startsHere(model) && html`<${LogView} name=${model.name} several=${model.replicas.length > 1} />`}
        <${NewsList} model=${model.name} />
        <section aria-labelledby="corner-title">
          <h2 id="corner-title">${t("corner.title")}</h2>
          <${DeveloperCorner} model=${model.name} />
        </section>
      </div>
    </div>
    ${editing && html`<${EditDialog} model=${model} onClose=${() => setEditing(false)} />`}
  </article>`;
}
