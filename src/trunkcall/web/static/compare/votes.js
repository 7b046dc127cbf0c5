/** The votes of this browser: cast, kept, brought in and thrown away. */
import { signal } from "../lib/html.js";
import { newId } from "../lib/ids.js";
import { noteVote } from "../lib/noting.js";
import { all, clear, drop, keep, onOtherTabs } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";

const STORE = "votes";
/** Characters of the question that are kept with a vote. */
const MOST_QUESTION = 300;

/**
 * All votes, the last one first, null until they are known: {id, at, models: [left, right], winner: "left" |
 * "right" | "tie" | "bothbad", anonymous, conversations: [their ids], question}; at in ms.
 */
export const votes = signal(null);

/** Read what is kept. */
export async function loadVotes() {
  votes.value = (await all(STORE)).sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1));
}

/** Vote on pairs of columns, with the same winner in each; mode: "named" or "anonymous". */
export async function castVotes(winner, pairs, mode) {
  const anonymous = mode === "anonymous";
  const cast = pairs.map((pair, index) => ({
    id: newId(),
    // The order in which they were cast is that of their moments.
    at: Date.now() + index,
    models: pair.map((column) => column.last.asked.model),
    winner,
    anonymous,
    conversations: pair.map((column) => column.id),
    question: pair[0].last.text.slice(0, MOST_QUESTION),
  }));
  const notes = pairs.map((pair) => pair.map((column) => column.note(column.last, mode)));
  await Promise.all(cast.map((vote) => keep(STORE, vote)));
  if (votes.value !== null) await loadVotes();
  try {
    for (const pair of notes) await noteVote(winner, pair, anonymous);
  } catch (error) {
    notify(t("votes.note_failed", { why: error.message }), { kind: "error" });
  }
}

/** Forget one. */
export async function dropVote(id) {
  await drop(STORE, id);
  await loadVotes();
}

/** Forget all. */
export async function clearVotes() {
  await clear(STORE);
  await loadVotes();
}

/** Keep votes of a file; gives how many were not here yet. */
export async function bringVotes(brought) {
  await loadVotes();
  const known = new Set(votes.value.map((vote) => vote.id));
  const added = new Map(brought.filter((vote) => !known.has(vote.id)).map((vote) => [vote.id, vote]));
  for (const vote of added.values()) await keep(STORE, vote);
  await loadVotes();
  return added.size;
}

onOtherTabs(({ store }) => {
  if (store === STORE && votes.value !== null) loadVotes();
});
