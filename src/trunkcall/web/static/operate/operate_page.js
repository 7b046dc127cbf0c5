/** The operate page: how the server does now and did in the last minutes, and what became of its requests. */
import { html } from "../lib/html.js";
import { go } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { LogView } from "../components/log_view.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { ConditionView } from "./condition_view.js";
import { FiguresView } from "./figures_view.js";
import { ModelTable } from "./model_table.js";
import { failure, observeAgain, status, useObserving } from "./observed.js";
import { RequestList } from "./request_list.js";
import { useStories } from "./stories.js";
import { StoryDialog } from "./story_dialog.js";

/** argument: the id of the request whose story is open, empty for none. */
export default function OperatePage({ argument }) {
  useStylesheet("styles/operate.css");
  useStylesheet("styles/chart.css");
  useObserving();
  useStories();
  return html`<div class="page operate-page">
    <header class="page-head">
      <h1>${t("page.operate")}</h1>
    </header>
    ${failure.value &&
    !failure.value.isOffline &&
    html`<${ErrorNote} error=${failure.value} onRetry=${observeAgain} />`}
    ${status.value === null
      ? !failure.value && html`<${Waiting} />`
      : html`<${ConditionView} /><${FiguresView} /><${ModelTable} />`}
    <${RequestList} />
    <${LogView} name="" several=${false} title=${t("operate.log")} />
    ${argument && html`<${StoryDialog} key=${argument} id=${argument} onClose=${() => go("operate")} />`}
  </div>`;
}
