/** What was used, as it is asked for, drawn and exported: spans of time, series of a chart, CSV; pure. */

const HOUR = 3600;
const DAY = 86_400;

/** Of time, by their names; "own" is between two days that are chosen. */
export const SPANS = ["today", "day", "week", "month", "this_month", "all", "own"];
export const GROUPS = ["model", "key", "day", "hour"];
/** What a bar is long by. */
export const MEASURES = ["tokens", "requests", "cost", "failed"];
/** What a row says, beside its groups. */
export const COLUMNS = [
  "requests",
  "failed",
  "prompt_tokens",
  "completion_tokens",
  "cached_tokens",
  "cost",
  "mean_first_token_ms",
  "mean_total_ms",
];

/** So many of a split have a colour of their own. */
const MOST_SERIES = 5;
/** More bars than these cannot be told apart. */
const MOST_SLOTS = 400;

/** {since, until} in unix seconds, null for no limit; days are UTC's. now: unix seconds; from, to: as YYYY-MM-DD. */
export function spanOf(name, now, from = "", to = "") {
  const today = Math.floor(now / DAY) * DAY;
  const date = new Date(now * 1000);
  switch (name) {
    case "today":
      return { since: today, until: null };
    case "day":
      return { since: (Math.floor(now / HOUR) - 23) * HOUR, until: null };
    case "week":
      return { since: today - 6 * DAY, until: null };
    case "month":
      return { since: today - 29 * DAY, until: null };
    case "this_month":
      return { since: Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1) / 1000, until: null };
    case "own":
      return { since: dayOf(from), until: to ? dayOf(to) + DAY : null };
    default:
      return { since: null, until: null };
  }
}

function dayOf(text) {
  return text ? Date.parse(`${text}T00:00Z`) / 1000 : null;
}

/** What a measure is of a row. */
export function measured(row, measure) {
  return measure === "tokens" ? row.prompt_tokens + row.completion_tokens : row[measure];
}

/** Rows as a table has them: times with the newest first, others with the largest first. */
export function ordered(rows, by, measure) {
  const isTime = by === "day" || by === "hour";
  return rows.toSorted((a, b) =>
    isTime && a[by] !== b[by] ? (a[by] < b[by] ? 1 : -1) : measured(b, measure) - measured(a, measure),
  );
}

/** All days or hours from the first to the last, as the ledger names them; null where they are too many. */
export function slots(by, since, until, rows, now) {
  const unit = by === "hour" ? HOUR : DAY;
  const told = rows.map((row) => Date.parse(by === "hour" ? row.hour : `${row.day}T00:00Z`) / 1000);
  if (!told.length) return [];
  const first = Math.floor((since ?? Math.min(...told)) / unit) * unit;
  const last = Math.max(until === null ? Math.floor(now / unit) * unit : Math.ceil(until / unit - 1) * unit, ...told);
  const count = Math.round((last - first) / unit) + 1;
  if (count > MOST_SLOTS) return null;
  return Array.from({ length: count }, (_, at) => nameOf(by, first + at * unit));
}

function nameOf(by, at) {
  const text = new Date(at * 1000).toISOString();
  return by === "hour" ? `${text.slice(0, 13)}:00Z` : text.slice(0, 10);
}

/** Series of a chart over slots: [{name, values}], by another group if there is one; the smallest are put together. */
export function seriesOf(rows, by, split, measure, names, words) {
  const places = new Map(names.map((name, at) => [name, at]));
  const found = new Map();
  for (const row of rows) {
    const name = split ? row[split] : "";
    if (!found.has(name)) {
      found.set(name, {
        name: name || (split ? words.nobody : words.all),
        values: new Array(names.length).fill(0),
        total: 0,
      });
    }
    const one = found.get(name);
    const value = measured(row, measure);
    one.values[places.get(row[by])] += value;
    one.total += value;
  }
  const sorted = [...found.values()].sort((a, b) => b.total - a.total);
  const shown = sorted.slice(0, MOST_SERIES).map(({ name, values }) => ({ name, values }));
  const others = sorted.slice(MOST_SERIES);
  if (others.length) {
    shown.push({
      name: words.others,
      values: names.map((_, at) => others.reduce((sum, one) => sum + one.values[at], 0)),
    });
  }
  return shown;
}

/** Rows as CSV of RFC 4180, with a head. */
export function csv(rows, groups) {
  const columns = [...groups, ...COLUMNS];
  const line = (cells) => cells.map(cell).join(",");
  return [line(columns), ...rows.map((row) => line(columns.map((name) => row[name])))].join("\r\n") + "\r\n";
}

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
