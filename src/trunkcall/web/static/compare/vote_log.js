/** All votes of this browser in a table: looked through, deleted, taken along. */
import { html, useState } from "../lib/html.js";
import { ago, moment } from "../lib/format.js";
import { address } from "../lib/router.js";
import { lasting } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { WINNERS, votesCsv } from "../lib/votes_files.js";
import { Button, IconButton } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { EmptyState, Waiting } from "../components/notes.js";
import { Choice } from "./choice.js";
import { ResultsTools } from "./results_tools.js";
import { KINDS, ofKind, sayKind } from "./vote_kinds.js";
import { clearVotes, dropVote, votes } from "./votes.js";

/** So many lines are in the page at first, and so many more each time. */
const SPAN = 100;

/** The view of the page Battle. */
export function VoteLog() {
  const [typed, setTyped] = useState("");
  const [winner, setWinner] = useState("");
  const [kind, setKind] = useState("");
  const [most, setMost] = useState(SPAN);
  const [asks, setAsks] = useState(false);
  if (votes.value === null) return html`<div class="page"><${Waiting} /></div>`;
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const found = votes.value.filter((vote) => {
    const text = [...vote.models, vote.question].join(" ").toLowerCase();
    return (!winner || vote.winner === winner) && ofKind(vote, kind) && words.every((word) => text.includes(word));
  });
  const csv = { name: "trunkcall-votes.csv", text: () => votesCsv(found) };
  return html`<div class="results">
    <${ResultsTools} votes=${found} csv=${csv}>
      <input
        type="search"
        class="results-search"
        aria-label=${t("votes.search")}
        placeholder=${t("votes.search")}
        value=${typed}
        onInput=${(event) => setTyped(event.target.value)}
      />
      <${Choice}
        label=${t("votes.by_winner")}
        value=${winner}
        values=${WINNERS}
        textOf=${sayWinner}
        onChange=${setWinner}
      />
      <${Choice} label=${t("votes.by_kind")} value=${kind} onChange=${setKind} values=${KINDS} textOf=${sayKind} />
      <${Button} icon="trash" kind="danger" disabled=${!votes.value.length} onClick=${() => setAsks(true)}>
        ${t("votes.clear")}
      <//>
    <//>
    ${!lasting.value && html`<p class="results-note" role="status">${t("votes.not_lasting")}</p>`}
    <p class="faint" role="status">${t("votes.shown", { count: found.length, all: votes.value.length })}</p>
    ${votes.value.length === 0
      ? html`<${EmptyState} icon="battle" title=${t("votes.none")}>
          <p>${t("votes.none_say")}</p>
          <a class="button primary" href=${address("battle")}>${t("votes.begin")}</a>
        <//>`
      : found.length > 0 &&
        html`<div class="table-frame" tabindex="0" role="region" aria-label=${t("battle.view.votes")}>
          <table class="votes">
            <thead>
              <tr>
                <th scope="col">${t("votes.at")}</th>
                <th scope="col">A</th>
                <th scope="col">B</th>
                <th scope="col">${t("votes.winner")}</th>
                <th scope="col">${t("votes.names")}</th>
                <th scope="col">${t("votes.question")}</th>
                <th scope="col"><span class="visually-hidden">${t("delete")}</span></th>
              </tr>
            </thead>
            <tbody>
              ${found.slice(0, most).map((vote) => html`<${Line} key=${vote.id} vote=${vote} />`)}
            </tbody>
          </table>
        </div>`}
    ${found.length > most &&
    html`<${Button} onClick=${() => setMost(most + SPAN)}>
      ${t("votes.more", { count: Math.min(SPAN, found.length - most) })}
    <//>`}
    ${asks &&
    html`<${Dialog}
      title=${t("votes.clear")}
      onClose=${() => setAsks(false)}
      foot=${html`<${Button} onClick=${() => setAsks(false)}>${t("cancel")}<//>
        <${Button}
          kind="danger"
          icon="trash"
          onClick=${() => {
            setAsks(false);
            clearVotes();
          }}
        >${t("votes.clear_do", { count: votes.value.length })}<//>`}
    >
      <p>${t("votes.clear_say")}</p>
    <//>`}
  </div>`;
}

function Line({ vote }) {
  const { id, at, models, winner, anonymous, question } = vote;
  const [left, right] = models;
  return html`<tr>
    <td class="votes-at">
      <time datetime=${new Date(at).toISOString()} title=${moment(new Date(at))}>${ago(new Date(at))}</time>
    </td>
    <td class=${winner === "left" ? "votes-better" : ""}>${left}</td>
    <td class=${winner === "right" ? "votes-better" : ""}>${right}</td>
    <td>${t(`votes.is.${winner}`)}</td>
    <td>${t(anonymous ? "votes.hidden" : "votes.seen")}</td>
    <td class="votes-question">${question}</td>
    <td>
      <${IconButton}
        icon="trash"
        size=${17}
        label=${t("votes.delete", { left, right })}
        onClick=${() => dropVote(id)}
      />
    </td>
  </tr>`;
}

const sayWinner = (winner) => t(`votes.is.${winner || "any"}`);
