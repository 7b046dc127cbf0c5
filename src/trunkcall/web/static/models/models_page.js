/** The models page: the machine, all models or one of them, and the ways to add more. */
import { html, useEffect, useState } from "../lib/html.js";
import { offer } from "../lib/palette.js";
import { address, go } from "../lib/router.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { EmptyState, ErrorNote, Waiting } from "../components/notes.js";
import { reload, underWay } from "./acts.js";
import { AddDialog } from "./add_dialog.js";
import { MachineView } from "./machine_view.js";
import { ModelDetails } from "./model_details.js";
import { ModelList } from "./model_list.js";
import { NewsList } from "./news_list.js";
import { withoutAdapters } from "./shape.js";
import { failure, refresh, settings, useWatching, views } from "./watched.js";

/** argument: the name of the model that is shown, empty for all. */
export default function ModelsPage({ argument }) {
  useStylesheet("styles/models.css");
  useWatching();
  const [adding, setAdding] = useState(false);
  const locked = session.value.locked;
  useEffect(() => {
    const group = t("page.models");
    const add = { id: "models.add", label: t("models.add"), group, run: () => setAdding(true) };
    return offer(() => [
      ...(locked ? [] : [add]),
      ...withoutAdapters(views.value ?? []).map(({ name }) => ({
        id: `models.show ${name}`,
        label: t("models.show", { name }),
        group,
        run: () => go("models", name),
      })),
    ]);
  }, [locked]);
  const failed = failure.value !== null && !failure.value.isOffline;
  const shown =
    argument && views.value?.find((model) => model.name === argument || model.adapters.includes(argument));
  const onAdd = () => setAdding(true);
  const onAdded = (name) => {
    setAdding(false);
    if (name) go("models", name);
  };
  return html`<div class="page models-page">
    <header class="page-head">
      ${argument ? html`<${Back} />` : html`<h1>${t("page.models")}</h1>`}
      ${!locked &&
      !argument &&
      html`<${Button} icon="plus" kind="primary" onClick=${onAdd}>${t("models.add")}<//>`}
    </header>
    ${locked
      ? html`<p class="note"><${Icon} name="info" size=${18} /><span>${t("models.locked")}</span></p>`
      : html`<${FileChanged} />`}
    ${failed && html`<${ErrorNote} error=${failure.value} onRetry=${refresh} />`}
    ${views.value === null && !failure.value && html`<${Waiting} />`}
    ${views.value !== null && !argument && html`<${All} locked=${locked} onAdd=${onAdd} />`}
    ${shown && html`<${ModelDetails} key=${shown.name} model=${shown} locked=${locked} />`}
    ${views.value !== null && argument && !shown && html`<${Gone} name=${argument} />`}
    ${adding && html`<${AddDialog} onClose=${() => setAdding(false)} onAdded=${onAdded} />`}
  </div>`;
}

function All({ locked, onAdd }) {
  const models = withoutAdapters(views.value);
  return html`<${MachineView} />
    ${models.length
      ? html`<${ModelList} models=${models} locked=${locked} />`
      : html`<${EmptyState} icon="models" title=${t("models.empty")}>
          <p>${t(locked ? "models.empty.locked" : "models.empty.say")}</p>
          ${!locked && html`<${Button} icon="plus" kind="primary" onClick=${onAdd}>${t("models.add")}<//>`}
        <//>`}
    <${NewsList} />`;
}

function Back() {
  return html`<a class="back" href=${address("models")}>
    <${Icon} name="left" size=${18} />${t("models.all")}
  </a>`;
}

function Gone({ name }) {
  return html`<${EmptyState} icon="models" title=${t("models.gone", { name })}>
    <p>${t("models.gone.say")}</p>
  <//>`;
}

/** Says that the settings file is not what is in force, and puts it in force. */
function FileChanged() {
  if (!settings.value?.changed || !settings.value.reloads) return null;
  const busy = underWay.value[""] === "reload";
  return html`<div class="note warning" role="status">
    <${Icon} name="warning" size=${18} />
    <span>${t("models.file_changed", { file: settings.value.file })}</span>
    <${Button} icon="again" onClick=${reload} disabled=${busy}>${t("models.reload")}<//>
  </div>`;
}
