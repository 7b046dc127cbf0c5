/** The page on which several models answer the same side by side. */
import { html, signal, useEffect, useState } from "../lib/html.js";
import { models, modelsError, refreshModels } from "../lib/models.js";
import { newId } from "../lib/ids.js";
import { offer } from "../lib/palette.js";
import { recall, remember } from "../lib/remembered.js";
import { address as addressOf, go } from "../lib/router.js";
import { mayOpen, session } from "../lib/session.js";
import { shortcut } from "../lib/shortcuts.js";
import { keep } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button } from "../components/button.js";
import { DeveloperCorner } from "../components/developer_corner.js";
import { Dialog } from "../components/dialog.js";
import { Markdown } from "../components/markdown.js";
import { Menu } from "../components/menu.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { NoModels } from "./no_models.js";
import { CatchUp, ColumnView } from "./column_view.js";
import { ColumnsView, letterOf } from "./columns_view.js";
import { MOST_COLUMNS } from "./comparison.js";
import { addColumn, address, current, have, removeColumn, settle, settleAll } from "./current.js";
import { Prompt } from "./prompt.js";
import { SettingsDialog } from "./settings_dialog.js";
import { share } from "./share.js";
import { stopAll } from "./stopping.js";
import { VoteBar } from "./vote_bar.js";

const PER_ROW = "trunkcall.compare.per_row";
const IN_ROWS = ["", "1", "2", "3", "4", "5", "6", "7", "8", "-1"];

/** How many columns in a row, as its reader has chosen; empty: as the operator has it. */
const perRow = signal(IN_ROWS.includes(recall(PER_ROW)) ? recall(PER_ROW) : "");

/** argument: names of models between commas, or empty. */
export default function ComparePage({ argument }) {
  useStylesheet("styles/compare.css");
  const known = Boolean(models.value?.length);
  useEffect(() => {
    have(argument);
  }, [argument, known]);
  const comparison = current.value;
  if (models.value?.length === 0) {
    return html`<div class="page">
      <h1 class="visually-hidden">${t("page.compare")}</h1>
      <${NoModels} />
    </div>`;
  }
  if (comparison === null) {
    return html`<div class="page">
      ${modelsError.value
        ? html`<${ErrorNote} error=${modelsError.value} onRetry=${refreshModels} />`
        : html`<${Waiting} />`}
    </div>`;
  }
  return html`<${Compare} comparison=${comparison} />`;
}

function Compare({ comparison }) {
  const [settings, setSettings] = useState(null);
  const [corner, setCorner] = useState(null);
  const columns = comparison.columns.value;
  useEffect(() => {
    const withdraw = [
      shortcut({ keys: "Escape", label: t("compare.stop_all"), always: true, run: () => stopAll(comparison) }),
      offer(() => offers(comparison)),
    ];
    return () => withdraw.forEach((one) => one());
  }, [comparison]);
  const { heading, columns: wanted } = session.value;
  const inRow = perRow.value === "" ? wanted : Number(perRow.value);
  return html`<div class="compare">
    <${Head} comparison=${comparison} />
    ${heading && comparison.isEmpty && html`<div class="compare-heading"><${Markdown} text=${heading} /></div>`}
    <${ColumnsView}
      columns=${columns}
      perRow=${inRow}
      nameOf=${(column) => column.model}
      render=${(column, index) => html`<${ColumnView}
        key=${column.id}
        column=${column}
        comparison=${comparison}
        letter=${letterOf(index)}
        onPick=${(model) => settle(column, { model })}
        onSettings=${() => setSettings(column)}
        items=${doings(column, columns.length > 2, setCorner)}
      >
        <p>${t(comparison.isEmpty ? "compare.empty" : "compare.empty_later")}</p>
        <${CatchUp} column=${column} comparison=${comparison} />
      <//>`}
    />
    <div class="compare-foot">
      ${!comparison.isEmpty &&
      html`<${VoteBar} comparison=${comparison}>
        ${mayOpen("battle") && html`<a href=${addressOf("battle", "leaderboard")}>${t("vote.to_leaderboard")}</a>`}
      <//>`}
      <${Prompt}
        comparison=${comparison}
        names=${columns.map((column) => column.model)}
        onSend=${(draft) => comparison.ask(draft)}
      />
    </div>
    ${settings &&
    html`<${SettingsDialog}
      title=${t("compare.settings", { letter: letterOf(columns.indexOf(settings)) })}
      model=${settings.model}
      settings=${settings.settings.value}
      onChange=${(some) => settle(settings, some)}
      onAll=${() => settleAll(settings)}
      onClose=${() => setSettings(null)}
    />`}
    ${corner &&
    html`<${Dialog} title=${t("chat.corner")} onClose=${() => setCorner(null)} wide>
      <${DeveloperCorner}
        request=${corner.last?.answer.request}
        frames=${corner.last?.answer.frames}
        model=${corner.model}
      />
    <//>`}
  </div>`;
}

function Head({ comparison }) {
  const count = comparison.columns.value.length;
  return html`<header class="compare-head">
    <h1>${t("page.compare")}</h1>
    <label class="compare-rows">
      <span>${t("compare.per_row")}</span>
      <select
        value=${perRow.value}
        onChange=${(event) => {
          perRow.value = event.target.value;
          remember(PER_ROW, perRow.value);
        }}
      >
        ${IN_ROWS.map(
          (value) => html`<option key=${value} value=${value} selected=${value === perRow.value}>
            ${value === "" ? t("compare.rows_usual") : value === "-1" ? t("compare.rows_all") : value}
          </option>`,
        )}
      </select>
    </label>
    <${Button}
      icon="plus"
      class="terse"
      disabled=${count >= MOST_COLUMNS}
      title=${count >= MOST_COLUMNS ? t("compare.most", { count: MOST_COLUMNS }) : undefined}
      onClick=${addColumn}
    >${t("compare.add")}<//>
    <${Button}
      icon="trash"
      class="terse"
      disabled=${comparison.isEmpty}
      onClick=${() => comparison.clear()}
    >${t("compare.clear")}<//>
    <${Menu} label=${t("compare.more")} items=${headItems(comparison)} />
  </header>`;
}

function headItems(comparison) {
  return [
    {
      icon: "again",
      label: t("compare.regenerate"),
      disabled: !comparison.contenders.length,
      run: () => comparison.regenerate(),
    },
    { icon: "link", label: t("compare.link"), run: () => share(link(), t("compare.link_copied")) },
    ...(mayOpen("battle")
      ? [{ icon: "battle", label: t("vote.to_leaderboard"), run: () => go("battle", "leaderboard") }]
      : []),
  ];
}

/** What can be done with one column besides what its foot offers. */
function doings(column, removable, setCorner) {
  return [
    {
      icon: "chat",
      label: t("compare.to_chat"),
      disabled: !column.last || column.running || !mayOpen("chat"),
      run: () => goOnInChat(column),
    },
    { icon: "code", label: t("chat.corner"), run: () => setCorner(column) },
    { icon: "close", label: t("compare.remove"), disabled: !removable, run: () => removeColumn(column) },
  ];
}

async function goOnInChat(column) {
  const id = newId();
  await keep("conversations", column.conversation(undefined, id));
  go("chat", id);
}

function link() {
  return `${location.origin}${location.pathname}${addressOf("compare", address())}`;
}

function offers(comparison) {
  const group = t("palette.actions");
  return [
    ...(comparison.columns.value.length < MOST_COLUMNS
      ? [{ id: "compare-add", label: t("compare.add"), group, run: addColumn }]
      : []),
    ...(comparison.isEmpty
      ? []
      : [{ id: "compare-clear", label: t("compare.clear"), group, run: () => comparison.clear() }]),
    ...headItems(comparison)
      .filter((item) => !item.disabled)
      .map(({ label, run }) => ({ id: `compare-${label}`, label, group, run })),
  ];
}
