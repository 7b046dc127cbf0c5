/** Votes and ranking out of this browser as files, and votes into it. */
import { html, useRef } from "../lib/html.js";
import { FileProblem } from "../lib/conversation_files.js";
import { save } from "../lib/download.js";
import { t } from "../lib/strings.js";
import { readVotes, writeVotes } from "../lib/votes_files.js";
import { Button } from "../components/button.js";
import { notify } from "../components/toast.js";
import { bringVotes } from "./votes.js";

/** votes: what goes into the JSON file; csv: {name, text()} of the other; children: more buttons. */
export function ResultsTools({ votes, csv, children }) {
  const picker = useRef(null);
  const none = votes.length === 0;
  return html`<div class="results-tools">
    ${children}
    <span class="battle-between" />
    <${Button} icon="download" disabled=${none} onClick=${() => saveJson(votes)}>${t("votes.export_json")}<//>
    <${Button} icon="download" disabled=${none} onClick=${() => save(csv.name, csv.text(), "text/csv")}>
      ${t("votes.export_csv")}
    <//>
    <${Button} icon="upload" onClick=${() => picker.current.click()}>${t("votes.import")}<//>
    <input
      ref=${picker}
      type="file"
      accept=".json,application/json"
      aria-label=${t("votes.import")}
      hidden
      onChange=${(event) => {
        bring(event.target.files[0]);
        event.target.value = "";
      }}
    />
  </div>`;
}

function saveJson(votes) {
  save("trunkcall-votes.json", writeVotes(votes, Date.now()), "application/json");
}

async function bring(file) {
  if (!file) return;
  try {
    const brought = readVotes(await file.text());
    const count = await bringVotes(brought);
    notify(t("votes.imported", { count, known: brought.length - count }));
  } catch (problem) {
    const why = problem instanceof FileProblem ? problem.message : t("votes.file.unreadable");
    notify(t("votes.file.refused", { name: file.name, why }), { kind: "error" });
  }
}
