/** A model's settings as the fields of a form and as the server takes them; pure. */
import { t } from "../lib/strings.js";

/** A form of which nothing was filled in; texts as they are typed. */
export const EMPTY = {
  sources: "",
  replicas: "",
  slots: "",
  queue: "",
  ttl: "",
  key: "",
  policy: "least_loaded",
  weights: "",
  recover: "auto",
  fallback: "",
  aliases: "",
  prompt: "",
  completion: "",
  cached: "",
  options: "",
  env: "",
  preload: false,
  pinned: false,
};

export const POLICIES = [
  "least_loaded",
  "shortest_queue",
  "lottery",
  "weighted",
  "session_affinity",
  "prefix_affinity",
];
export const RECOVERIES = ["auto", "exact", "off"];

const WHOLE = ["replicas", "slots", "queue"];
const PRICES = ["prompt", "completion", "cached"];

/** {entry, errors}: the settings that are not as by default, and by field what cannot be read. */
export function entryOf(form) {
  const entry = {};
  const errors = {};
  const sources = lines(form.sources);
  if (sources.length) entry.source = sources.length === 1 ? sources[0] : sources;
  for (const field of WHOLE) number(form, field, entry, errors, /^\d+$/);
  if (form.ttl.trim()) entry.ttl = form.ttl.trim();
  if (form.key.trim()) entry.key = form.key.trim();
  for (const field of ["fallback", "aliases"]) {
    const names = words(form[field]);
    if (names.length) entry[field] = names;
  }
  const weights = words(form.weights).map(Number);
  if (weights.some(Number.isNaN)) errors.weights = t("models.error.numbers");
  else if (weights.length) entry.weights = weights;
  const price = {};
  for (const field of PRICES) number(form, field, price, errors, /^\d*\.?\d+$/);
  if (Object.keys(price).length) entry.price = price;
  for (const field of ["policy", "recover"]) if (form[field] !== EMPTY[field]) entry[field] = form[field];
  for (const field of ["preload", "pinned"]) if (form[field]) entry[field] = true;
  pairs(form, "options", entry, errors, valueOf);
  pairs(form, "env", entry, errors, (text) => text);
  return { entry, errors };
}

/** The form of a model by the sources of its replicas, and its settings as GET /admin/settings shows them. */
export function formOf(sources, settings) {
  const copies = repeated(sources);
  const weights = settings.weights ?? [];
  const price = settings.price ?? {};
  const text = (value) => (value === undefined || value === null ? "" : String(value));
  return {
    ...EMPTY,
    sources: sources.filter((_, index) => index % copies === 0).join("\n"),
    replicas: copies === 1 ? "" : String(copies),
    slots: text(settings.slots),
    queue: text(settings.queue),
    ttl: span(settings.ttl),
    key: text(settings.key),
    policy: settings.policy ?? EMPTY.policy,
    weights: weights.filter((_, index) => index % copies === 0).join(", "),
    recover: settings.recover ?? EMPTY.recover,
    fallback: (settings.fallback ?? []).join(", "),
    aliases: (settings.aliases ?? []).join(", "),
    prompt: price.prompt ? String(price.prompt) : "",
    completion: price.completion ? String(price.completion) : "",
    cached: text(price.cached),
    options: told(settings.options, textOf),
    env: told(settings.env, (value) => value),
    preload: settings.preload ?? false,
    pinned: settings.pinned ?? false,
  };
}

/** What is to be sent so that a model that is as `before` becomes as `after`; null takes a setting back. */
export function changesOf(before, after) {
  const was = entryOf(before).entry;
  const is = entryOf(after).entry;
  const changes = {};
  for (const field of new Set([...Object.keys(was), ...Object.keys(is)])) {
    if (JSON.stringify(was[field]) !== JSON.stringify(is[field])) changes[field] = is[field] ?? null;
  }
  // Sources are shown once for all their replicas, whatever way they were written.
  if ("source" in changes || "replicas" in changes) {
    changes.source = is.source ?? "";
    changes.replicas = is.replicas ?? null;
  }
  return changes;
}

/** The field of the form that an error's `param` speaks of; empty for none of them. */
export function fieldOf(param, form) {
  if (!param) return "";
  const first = param.split(/[.[]/)[0];
  if (pairNames(form.options).includes(first)) return "options";
  if (first === "source") return "sources";
  if (first === "price") return PRICES.find((field) => param === `price.${field}`) ?? "prompt";
  if (first in EMPTY || first === "name") return first;
  return first === "model" ? "name" : "options";
}

function number(form, field, into, errors, shape) {
  const text = form[field].trim();
  if (!text) return;
  if (shape.test(text)) into[field] = Number(text);
  else errors[field] = t(shape.test("0.5") ? "models.error.number" : "models.error.whole");
}

function lines(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}

function words(text) {
  return text.split(/[,\s]+/).filter(Boolean);
}

function pairNames(text) {
  return lines(text).map((line) => line.split("=")[0].trim());
}

function pairs(form, field, entry, errors, read) {
  const found = {};
  for (const line of lines(form[field])) {
    const at = line.indexOf("=");
    const name = line.slice(0, Math.max(at, 0)).trim();
    if (!name) errors[field] = t("models.error.pair", { line });
    else if (name in found) errors[field] = t("models.error.twice", { name });
    else found[name] = read(line.slice(at + 1).trim());
  }
  if (Object.keys(found).length) entry[field] = found;
}

/** What follows a `=`: JSON where it is some, else a text. */
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function textOf(value) {
  return typeof value === "string" && valueOf(value) === value && !/^\s|\s$|\n/.test(value)
    ? value
    : JSON.stringify(value);
}

function told(values, text) {
  return Object.entries(values ?? {})
    .map(([name, value]) => `${name}=${text(value)}`)
    .join("\n");
}

/** How often each source follows itself; 1 where that is not the same for all. */
function repeated(sources) {
  const runs = [];
  sources.forEach((source, index) => {
    if (index && source === sources[index - 1]) runs[runs.length - 1] += 1;
    else runs.push(1);
  });
  return runs.length && runs.every((run) => run === runs[0]) ? runs[0] : 1;
}

/** Seconds as the settings would have them: 600 -> "10m". */
function span(seconds) {
  if (seconds === undefined || seconds === null) return "";
  for (const [unit, size] of [
    ["h", 3600],
    ["m", 60],
  ]) {
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}
