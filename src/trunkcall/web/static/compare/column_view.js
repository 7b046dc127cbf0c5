/** A column of a comparison as its reader sees it: whose it is, what was said, and what can be done with it. */
import { focusNext } from "../lib/focus.js";
import { html } from "../lib/html.js";
import { chosen } from "../lib/parameters.js";
import { t } from "../lib/strings.js";
import { Button, IconButton } from "../components/button.js";
import { CopyButton } from "../components/copy_button.js";
import { Icon } from "../components/icon.js";
import { Menu } from "../components/menu.js";
import { ModelPicker } from "../components/model_picker.js";
import { useFollowing } from "./following.js";
import { TurnView } from "./turn_view.js";

/**
 * column: the Column; comparison: which it is of; letter: "A" and so on; disguise: what stands for the name
 * while that is hidden; fixed: the model cannot be changed; frozen: nothing can be asked any longer; items:
 * more for its menu; onPick(model), onSettings(): undefined where there is no such thing; children: shown
 * while nothing was asked.
 */
export function ColumnView(given) {
  const { column, letter, disguise = "", fixed = false, onPick, onSettings, items = [], children } = given;
  const turns = column.turns.value;
  const name = disguise || column.model;
  const { box, content } = useFollowing(turns.at(-1)?.id);
  return html`<section class="column" aria-label=${t("compare.column", { letter, model: name || t("picker.none") })}>
    <header class="column-head">
      <span class="column-letter" aria-hidden="true">${letter}</span>
      ${fixed
        ? html`<h2 class="column-name">${name}</h2>`
        : html`<h2 class="column-pick">
            <${ModelPicker} value=${column.model} label=${t("compare.model_of", { letter })} onChange=${onPick} />
          </h2>`}
      <div class="column-tools">
        ${onSettings && html`<${SettingsButton} column=${column} letter=${letter} onClick=${onSettings} />`}
        ${items.length > 0 && html`<${Menu} label=${t("compare.menu", { letter })} items=${items} />`}
      </div>
    </header>
    <div ref=${box} class="column-said" tabindex="0" role="region" aria-label=${t("compare.said", { letter })}>
      <div ref=${content} class="column-content">
        ${turns.length === 0 && html`<div class="column-empty">${children}</div>`}
        ${turns.map(
          (turn) => html`<div key=${turn.id} class="column-turn">
            ${!disguise &&
            turn.asked.model !== column.model &&
            html`<p class="column-other">${t("compare.other_model", { model: turn.asked.model })}</p>`}
            <${TurnView} turn=${turn} disguise=${disguise} />
          </div>`,
        )}
      </div>
    </div>
    <footer class="column-foot"><${Doings} ...${given} /></footer>
  </section>`;
}

function SettingsButton({ column, letter, onClick }) {
  const { parameters, system, template } = column.settings.value;
  const count = Object.keys(chosen(parameters)).length + (system ? 1 : 0) + (template ? 1 : 0);
  return html`<button
    type="button"
    class="button quiet column-settings"
    aria-label=${t(count ? "compare.settings_set" : "compare.settings", { letter, count })}
    title=${t("compare.settings", { letter })}
    onClick=${onClick}
  ><${Icon} name="settings" size=${18} />${count > 0 && html`<span class="badge">${count}</span>`}</button>`;
}

/**
 * What can be done about the last answer; the row is there before there is anything, so that nothing jumps.
 */
function Doings({ column, comparison, letter, frozen = false }) {
  const { last } = column;
  if (!last) return null;
  const turned = (work) => async (event) => {
    const { parentElement: row } = event.currentTarget;
    await work();
    // The button has given way to others.
    focusNext(() => row.querySelectorAll("button"));
  };
  if (column.running) {
    return html`<${Button}
      icon="stop"
      kind="quiet"
      aria-label=${t("compare.stop_one", { letter })}
      onClick=${turned(() => column.stop())}
    >${t("chat.stop")}<//>`;
  }
  const behind = last.round !== comparison.round.value;
  return html`<${CopyButton}
      text=${() => last.answer.text.peek()}
      size=${17}
      label=${t("compare.copy_one", { letter })}
    />
    ${!frozen &&
    !behind &&
    html`<${IconButton}
      icon="again"
      size=${17}
      label=${t("compare.regenerate_one", { letter })}
      onClick=${turned(() => comparison.regenerate([column]))}
    />`}
    ${!frozen && behind && html`<${CatchUp} column=${column} comparison=${comparison} />`}`;
}

/** A column that came later can be asked what the others were. */
export function CatchUp({ column, comparison }) {
  if (!comparison.contenders.length) return null;
  return html`<${Button} icon="play" onClick=${() => comparison.catchUp(column)}>${t("compare.catch_up")}<//>`;
}
