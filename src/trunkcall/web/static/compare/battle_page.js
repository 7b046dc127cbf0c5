/** The page of battles: a round between two hidden models, the votes, and the leaderboard they make. */
import { html, useEffect } from "../lib/html.js";
import { models, modelsError, refreshModels } from "../lib/models.js";
import { address } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { BattleRound } from "./battle_round.js";
import { newRound, round } from "./battle.js";
import { Leaderboard } from "./leaderboard.js";
import { NoModels } from "./no_models.js";
import { VoteLog } from "./vote_log.js";
import { loadVotes, votes } from "./votes.js";

const VIEWS = { round: Round, votes: VoteLog, leaderboard: Leaderboard };

/** argument: "", "votes" or "leaderboard". */
export default function BattlePage({ argument }) {
  useStylesheet("styles/compare.css");
  useEffect(() => {
    if (round.value === null) newRound();
    loadVotes();
  }, []);
  const shown = Object.hasOwn(VIEWS, argument) ? argument : "round";
  const View = VIEWS[shown];
  return html`<div class="compare">
    <header class="compare-head">
      <h1>${t("page.battle")}</h1>
      <nav class="views" aria-label=${t("battle.views")}>
        ${Object.keys(VIEWS).map(
          (name) => html`<a
            key=${name}
            href=${address("battle", name === "round" ? "" : name)}
            aria-current=${name === shown ? "page" : undefined}
          >
            ${t(`battle.view.${name}`)}
            ${name === "votes" && votes.value?.length > 0 && html` <span class="badge">${votes.value.length}</span>`}
          </a>`,
        )}
      </nav>
    </header>
    <${View} />
  </div>`;
}

function Round() {
  if (models.value?.length === 0) return html`<div class="page"><${NoModels} /></div>`;
  if (models.value === null || round.value === null) {
    return html`<div class="page">
      ${modelsError.value
        ? html`<${ErrorNote} error=${modelsError.value} onRetry=${refreshModels} />`
        : html`<${Waiting} />`}
    </div>`;
  }
  return html`<${BattleRound} comparison=${round.value} />`;
}
