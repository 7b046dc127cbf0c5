/** Votes as files: JSON holds all of them with the ranking and can be read again, CSV is for tables. Pure. */
import { FileProblem } from "./conversation_files.js";
import { ranking } from "./ranking.js";
import { t } from "./strings.js";

const FORMAT = "trunkcall.votes";
const VERSION = 1;
const ID = /^[0-9A-Za-z][\w-]{0,63}$/;
const LONGEST = 1000;
/** What a vote may say. */
export const WINNERS = ["left", "right", "tie", "bothbad"];

/** The text of a JSON file: the votes, and what they amount to. at: the moment in ms. */
export function writeVotes(votes, at) {
  const { models } = ranking(votes);
  return JSON.stringify(
    { format: FORMAT, version: VERSION, exported: new Date(at).toISOString(), ranking: models, votes },
    null,
    1,
  );
}

/** The votes of such a file, all of them sound. Raises FileProblem. */
export function readVotes(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new FileProblem(t("votes.file.no_json"));
  }
  if (file?.format !== FORMAT || !Array.isArray(file.votes)) throw new FileProblem(t("votes.file.foreign"));
  if (file.version !== VERSION)
    throw new FileProblem(t("votes.file.version", { version: String(file.version), known: VERSION }));
  return file.votes.map(soundVote);
}

function soundVote(vote, index) {
  const check = (holds, field) => {
    if (!holds) throw new FileProblem(t("votes.file.damaged", { index: index + 1, field }));
  };
  check(typeof vote === "object" && vote !== null && ID.test(vote.id), "id");
  check(Number.isFinite(vote.at) && Math.abs(vote.at) < 8.64e15, "at");
  check(isPair(vote.models) && vote.models.every(Boolean), "models");
  check(WINNERS.includes(vote.winner), "winner");
  check(typeof vote.anonymous === "boolean", "anonymous");
  check(isPair(vote.conversations), "conversations");
  const { id, at, models, winner, anonymous, conversations, question } = vote;
  return {
    id,
    at,
    models,
    winner,
    anonymous,
    conversations,
    question: typeof question === "string" ? question.slice(0, LONGEST) : "",
  };
}

function isPair(value) {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((one) => typeof one === "string" && one.length <= LONGEST)
  );
}

const VOTE_FIELDS = [
  "at",
  "model_a",
  "model_b",
  "winner",
  "anonymous",
  "conversation_a",
  "conversation_b",
  "question",
];
const RANKING_FIELDS = ["rank", "name", "score", "low", "high", "battles", "wins", "losses", "ties"];

/** The votes as a table, one on a line. */
export function votesCsv(votes) {
  const lines = votes.map(({ at, models, winner, anonymous, conversations, question }) => [
    new Date(at).toISOString(),
    ...models,
    { left: "model_a", right: "model_b", tie: "tie", bothbad: "tie (bothbad)" }[winner],
    anonymous,
    ...conversations,
    question,
  ]);
  return csv([VOTE_FIELDS, ...lines]);
}

/** A ranking's models as a table. */
export function rankingCsv(models) {
  return csv([
    RANKING_FIELDS,
    ...models.map((model) => RANKING_FIELDS.map((field) => rounded(model[field]))),
  ]);
}

const rounded = (value) => (typeof value === "number" ? Math.round(value * 10) / 10 : value);

/** As RFC 4180 has it. */
function csv(lines) {
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  // A text that begins so would be run as a formula by programs for tables.
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
