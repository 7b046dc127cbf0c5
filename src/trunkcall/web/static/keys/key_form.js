/** A key as a form has it, and back: texts to an entry, with what is wrong by field; pure. */

export const COUNTS = ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month"];
export const MONEY = ["money_per_day", "money_per_month"];

/** As administration takes names of keys. */
const NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_.@+-]{0,63}$/u;

/** A form of a key; without one of a new key. */
export function formOf(entry = null) {
  const form = {
    name: entry?.name ?? "",
    role: entry?.role ?? "user",
    models: (entry?.models ?? []).join(", "),
    expires_at: entry?.expires_at ? localOf(entry.expires_at) : "",
  };
  for (const name of [...COUNTS, ...MONEY]) form[name] = entry?.[name] === null || !entry ? "" : String(entry[name]);
  return form;
}

/**
 * {entry, errors}: all fields of an entry, and by field the name of what is wrong: "name", "whole", "number", "moment",
 * "past". now: unix seconds; before: the entry that is changed, whose moment may have passed.
 */
export function read(form, now, before = null) {
  const errors = {};
  const entry = { name: form.name.trim(), role: form.role, models: namesOf(form.models) };
  if (!NAME.test(entry.name)) errors.name = "name";
  for (const name of COUNTS) {
    const text = form[name].replace(/[\s,_]/g, "");
    entry[name] = text === "" ? null : Number(text);
    if (text !== "" && !(/^\d+$/.test(text) && Number.isSafeInteger(entry[name]))) errors[name] = "whole";
  }
  for (const name of MONEY) {
    const text = form[name].trim();
    entry[name] = text === "" ? null : Number(text);
    if (text !== "" && !(/^\d*\.?\d+$/.test(text) && Number.isFinite(entry[name]))) errors[name] = "number";
  }
  entry.expires_at = form.expires_at === "" ? null : new Date(form.expires_at).getTime() / 1000;
  if (entry.expires_at !== null && !Number.isFinite(entry.expires_at)) errors.expires_at = "moment";
  else if (before?.expires_at && form.expires_at === localOf(before.expires_at)) entry.expires_at = before.expires_at;
  else if (entry.expires_at !== null && entry.expires_at <= now) errors.expires_at = "past";
  return { entry, errors };
}

/** The fields of an entry that are not as before. */
export function changesOf(before, entry) {
  const same = (name) => JSON.stringify(before[name]) === JSON.stringify(entry[name]);
  return Object.fromEntries(Object.entries(entry).filter(([name]) => !same(name)));
}

/** An entry without what is not set, as a new key is asked for. */
export function given(entry) {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== null));
}

/** Names between commas or on lines. */
function namesOf(text) {
  return [...new Set(text.split(/[,\n]/).map((name) => name.trim()).filter(Boolean))];
}

/** A moment as a field for date and time has it, in the reader's zone. */
function localOf(at) {
  const date = new Date(at * 1000);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
