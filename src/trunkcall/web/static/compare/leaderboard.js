/** How strong the models are by the votes of this browser, and how each pair has done. */
import { html, useMemo, useState } from "../lib/html.js";
import { whole } from "../lib/format.js";
import { ranking } from "../lib/ranking.js";
import { address } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { rankingCsv } from "../lib/votes_files.js";
import { EmptyState, Waiting } from "../components/notes.js";
import { Choice } from "./choice.js";
import { ResultsTools } from "./results_tools.js";
import { KINDS, ofKind, sayKind } from "./vote_kinds.js";
import { votes } from "./votes.js";

/** The view of the page Battle. */
export function Leaderboard() {
  const [kind, setKind] = useState("");
  const counted = useMemo(() => (votes.value ?? []).filter((vote) => ofKind(vote, kind)), [votes.value, kind]);
  const found = useMemo(() => ranking(counted), [counted]);
  if (votes.value === null) return html`<div class="page"><${Waiting} /></div>`;
  const csv = { name: "trunkcall-leaderboard.csv", text: () => rankingCsv(found.models) };
  const enough = found.counted >= 2;
  return html`<div class="results">
    <${ResultsTools} votes=${counted} csv=${csv}>
      <${Choice} label=${t("votes.by_kind")} value=${kind} onChange=${setKind} values=${KINDS} textOf=${sayKind} />
      <span class="faint">${t("board.counted", { count: found.counted })}</span>
    <//>
    ${enough
      ? html`<${Standing} models=${found.models} />
          <p class="results-say">${t("board.say")}</p>
          ${found.left > 0 && html`<p class="results-say">${t("board.left", { count: found.left })}</p>`}
          <${Pairs} models=${found.models} pairs=${found.pairs} />`
      : html`<${EmptyState} icon="battle" title=${t("board.few")}>
          <p>${t(found.left > 0 && found.counted === 0 ? "board.few_same" : "board.few_say")}</p>
          <a class="button primary" href=${address("battle")}>${t("votes.begin")}</a>
        <//>`}
  </div>`;
}

function Standing({ models }) {
  const low = Math.min(...models.map((model) => model.low));
  const high = Math.max(...models.map((model) => model.high));
  const at = (score) => `${(100 * (score - low)) / (high - low)}%`;
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${t("battle.view.leaderboard")}>
    <table class="board">
      <thead>
        <tr>
          <th scope="col" class="number">${t("board.rank")}</th>
          <th scope="col">${t("board.model")}</th>
          <th scope="col" class="number">${t("board.score")}</th>
          <th scope="col">${t("board.interval")}</th>
          <th scope="col" class="number">${t("board.battles")}</th>
          <th scope="col" class="number">${t("board.wins")}</th>
          <th scope="col" class="number">${t("board.losses")}</th>
          <th scope="col" class="number">${t("board.ties")}</th>
        </tr>
      </thead>
      <tbody>
        ${models.map(
          (model) => html`<tr key=${model.name}>
            <td class="number">${model.rank}</td>
            <th scope="row" class="board-name">${model.name}</th>
            <td class="number"><b>${Math.round(model.score)}</b></td>
            <td class="board-interval">
              <span class="board-numbers">
                ${t("board.range", { low: Math.round(model.low), high: Math.round(model.high) })}
              </span>
              <span class="board-range" aria-hidden="true">
                <span class="board-bar" style=${{ left: at(model.low), right: `calc(100% - ${at(model.high)})` }} />
                <span class="board-dot" style=${{ left: at(model.score) }} />
              </span>
            </td>
            <td class="number">${whole(model.battles)}</td>
            <td class="number">${whole(model.wins)}</td>
            <td class="number">${whole(model.losses)}</td>
            <td class="number">${whole(model.ties)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Who wins against whom: the row's part of the battles with the column. */
function Pairs({ models, pairs }) {
  return html`<h2>${t("board.pairs")}</h2>
    <p class="results-say">${t("board.pairs_say")}</p>
    <div class="table-frame" tabindex="0" role="region" aria-label=${t("board.pairs")}>
      <table class="pairs">
        <thead>
          <tr>
            <td></td>
            ${models.map(({ name }) => html`<th key=${name} scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${models.map(
            ({ name }) => html`<tr key=${name}>
              <th scope="row">${name}</th>
              ${models.map(({ name: other }) => {
                const pair = pairs.get(name).get(other);
                if (!pair) return html`<td key=${other} class="pairs-none">${name === other ? "" : "–"}</td>`;
                const share = Math.round(100 * pair.share);
                return html`<td key=${other} class="pairs-share" style=${{ "--share": `${share * 0.4}%` }}>
                  <b>${share} %</b> <span class="faint">${t("board.of", { count: pair.battles })}</span>
                </td>`;
              })}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}
