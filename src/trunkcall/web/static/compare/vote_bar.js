/** The votes on what two columns said, or which of several is the best. */
import { focusNext } from "../lib/focus.js";
import { html, useRef } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { letterOf } from "./columns_view.js";

const CHOICES = [
  { winner: "left", icon: "left" },
  { winner: "right", icon: "right" },
  { winner: "tie", icon: "check" },
  { winner: "bothbad", icon: "downvote" },
];

/** comparison: what is voted on; children: shown beside the vote once it was cast. */
export function VoteBar({ comparison, children }) {
  const { unready, contenders } = comparison;
  const verdict = comparison.verdict.value;
  const bar = useRef(null);
  const vote = (...given) => {
    comparison.vote(...given);
    focusNext(() => bar.current.parentElement.querySelectorAll("a, button"));
  };
  const letters = contenders.map((column) => letterOf(comparison.columns.value.indexOf(column)));
  if (verdict) {
    const best = verdict.best ? letterOf(comparison.columns.value.indexOf(verdict.best)) : "";
    return html`<div ref=${bar} class="vote-bar" role="status">
      <span class="vote-cast"><${Icon} name="check" size=${18} /> ${saidOf(verdict.winner, best, letters)}</span>
      ${children}
    </div>`;
  }
  const many = contenders.length > 2;
  const off = unready !== "";
  return html`<div ref=${bar} class="vote-bar" role="group" aria-label=${t("vote.label")}>
    ${many
      ? html`<span class="vote-ask">${t("vote.which")}</span>
          ${contenders.map(
            (column, index) => html`<${Button}
              key=${column.id}
              disabled=${off}
              aria-label=${t("vote.best", { letter: letters[index] })}
              onClick=${() => vote("left", column)}
            >${letters[index]}<//>`,
          )}`
      : CHOICES.map(
          ({ winner, icon }) => html`<${Button}
            key=${winner}
            icon=${icon}
            disabled=${off}
            onClick=${() => vote(winner)}
          >${t(`vote.${winner}`, namesOf(letters))}<//>`,
        )}
    <span class="vote-why" role="status">${unready && t(`vote.not.${unready}`)}</span>
  </div>`;
}

const namesOf = ([left = letterOf(0), right = letterOf(1)]) => ({ left, right });

function saidOf(winner, best, letters) {
  return best ? t("vote.said.best", { letter: best }) : t(`vote.said.${winner}`, namesOf(letters));
}
