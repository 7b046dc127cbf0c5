/** A round of battle: two hidden models answer, the reader votes, the names are shown. */
import { html, useEffect, useState } from "../lib/html.js";
import { offer } from "../lib/palette.js";
import { address } from "../lib/router.js";
import { mayOpen, session } from "../lib/session.js";
import { shortcut } from "../lib/shortcuts.js";
import { t } from "../lib/strings.js";
import { Button, IconButton } from "../components/button.js";
import { Markdown } from "../components/markdown.js";
import { askBoth, drawable, newRound, settings, settleBoth, toldOf } from "./battle.js";
import { ColumnView } from "./column_view.js";
import { ColumnsView, letterOf } from "./columns_view.js";
import { Prompt } from "./prompt.js";
import { SettingsDialog } from "./settings_dialog.js";
import { share } from "./share.js";
import { stopAll } from "./stopping.js";
import { TakesPart } from "./takes_part.js";
import { VoteBar } from "./vote_bar.js";

/** comparison: the round. */
export function BattleRound({ comparison }) {
  const [setting, setSetting] = useState(false);
  useEffect(() => {
    const group = t("palette.actions");
    const withdraw = [
      shortcut({ keys: "Escape", label: t("compare.stop_all"), always: true, run: () => stopAll(comparison) }),
      offer({ id: "battle-new", label: t("battle.new"), group, run: newRound }),
    ];
    return () => withdraw.forEach((one) => one());
  }, [comparison]);
  const revealed = comparison.verdict.value !== null;
  const disguise = (index) => (revealed ? "" : t("battle.model", { letter: letterOf(index) }));
  const columns = comparison.columns.value;
  const drawn = columns[0].model !== "";
  const choice = drawable(comparison.draft.value.images.length > 0);
  const { heading, columns: wanted } = session.value;
  return html`${heading &&
    comparison.isEmpty &&
    html`<div class="compare-heading"><${Markdown} text=${heading} /></div>`}
    <${ColumnsView}
      columns=${columns}
      perRow=${wanted === 1 ? 1 : 2}
      nameOf=${(column, index) => disguise(index) || column.model}
      render=${(column, index) => html`<${ColumnView}
        key=${column.id}
        column=${column}
        comparison=${comparison}
        letter=${letterOf(index)}
        disguise=${disguise(index)}
        frozen=${revealed}
        fixed
      >
        <p>${t("battle.empty")}</p>
      <//>`}
    />
    <div class="compare-foot">
      ${!comparison.isEmpty &&
      html`<${VoteBar} comparison=${comparison}>
        ${revealed && html`<span class="vote-revealed">${toldOf(comparison)}</span>`}
      <//>`}
      <div class="battle-doings">
        <${Button}
          icon="plus"
          kind=${revealed ? "primary" : "plain"}
          disabled=${comparison.isEmpty}
          onClick=${newRound}
        >${t("battle.new")}<//>
        <${Button}
          icon="again"
          class="terse"
          disabled=${comparison.isEmpty || revealed}
          onClick=${() => comparison.regenerate()}
        >${t("battle.regenerate")}<//>
        <${Button}
          icon="trash"
          class="terse"
          title=${t("battle.clear_means")}
          disabled=${comparison.isEmpty || revealed}
          onClick=${() => comparison.clear()}
        >${t("compare.clear")}<//>
        <${Button}
          icon="link"
          class="terse"
          title=${t("battle.share_means")}
          disabled=${!revealed}
          onClick=${() => shareRound(comparison)}
        >${t("battle.share")}<//>
        <span class="battle-between" />
        <${TakesPart} disabled=${drawn && !revealed} />
        <${IconButton} icon="settings" label=${t("battle.settings")} onClick=${() => setSetting(true)} />
      </div>
      ${!drawn &&
      choice.length === 1 &&
      html`<p class="battle-note">${t("battle.alone", { model: choice[0].name })}</p>`}
      ${!revealed &&
      html`<${Prompt}
        comparison=${comparison}
        names=${drawn ? columns.map((column) => column.model) : choice.map((model) => model.name)}
        why=${!drawn && choice.length === 0 ? t("battle.nobody") : ""}
        count=${2}
        onSend=${askBoth}
      />`}
    </div>
    ${setting &&
    html`<${SettingsDialog}
      title=${t("battle.settings")}
      model=""
      settings=${settings.value}
      onChange=${settleBoth}
      onClose=${() => setSetting(false)}
    />`}`;
}

function shareRound(comparison) {
  const names = comparison.columns.value.map((column) => column.model).join(",");
  const link = mayOpen("compare") ? `\n${location.origin}${location.pathname}${address("compare", names)}` : "";
  share(toldOf(comparison) + link, t("battle.shared"));
}
