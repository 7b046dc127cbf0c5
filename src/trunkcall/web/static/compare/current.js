/** The comparison of this page, which goes on while another page is looked at, and its columns in the address. */
import { signal } from "../lib/html.js";
import { modelOf, models } from "../lib/models.js";
import { recall, remember } from "../lib/remembered.js";
import { go, query } from "../lib/router.js";
import { session } from "../lib/session.js";
import { Column } from "./column.js";
import { Comparison, MOST_COLUMNS } from "./comparison.js";

const SETTINGS = "trunkcall.compare.columns";
const LEAST_COLUMNS = 2;

/** The Comparison; null until there is one. */
export const current = signal(null);

/**
 * Have the columns that an address asks for, which has names between commas. Without any, those that were had
 * last: of a locked list all, as many as fit. Needs models, unless names are given; gives whether it is done.
 */
export function have(argument) {
  if (current.value !== null && (argument === "" || argument === address())) {
    showAddress();
    return true;
  }
  const linked = takeQuery();
  const named = namesOf(argument || linked);
  if (!named.length && !models.value?.length) return false;
  const wanted = named.length ? withSettings(named) : remembered();
  current.value?.stop();
  current.value = new Comparison(
    filled(wanted).map((settings) => new Column(settings)),
    { draft: current.value?.draft.value },
  );
  showAddress();
  return true;
}

/** One more column: of a model that has none yet, or like the last one. */
export function addColumn() {
  const { columns } = current.value;
  const last = columns.value.at(-1).settings.value;
  const other = unused(columns.value.map((column) => column.model));
  current.value.add(new Column(other ? { model: other } : last));
  changed();
}

/** One column less. */
export function removeColumn(column) {
  current.value.remove(column);
  changed();
}

/** Change some of a column's model, system, template and parameters. */
export function settle(column, settings) {
  column.settle(settings);
  changed();
}

/** Give all columns the settings of one, besides the model. */
export function settleAll(column) {
  const { model: _, ...rest } = column.settings.value;
  for (const other of current.value.columns.value) other.settle(rest);
  changed();
}

/** The names of the models as an address has them. */
export const address = () => current.value.columns.value.map((column) => column.model).join(",");

function changed() {
  const kept = current.value.columns.value.map((column) => column.settings.value);
  remember(SETTINGS, JSON.stringify(kept));
  showAddress();
}

function showAddress() {
  go("compare", address(), { replace: true });
}

function namesOf(text) {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean)
    .slice(0, MOST_COLUMNS);
}

/** What the link that opened the page wants, once. */
function takeQuery() {
  const wanted = query.get("models") ?? "";
  if (wanted) {
    query.delete("models");
    const rest = new URLSearchParams(location.search);
    rest.delete("models");
    history.replaceState(null, "", `${location.pathname}${rest.size ? `?${rest}` : ""}${location.hash}`);
  }
  return wanted;
}

/** Models with the settings that they had here, where the columns are the same ones. */
function withSettings(names) {
  const known = recalled();
  return names.map((model, index) => (known[index]?.model === model ? known[index] : { model }));
}

function remembered() {
  const { locked, models: order } = session.value;
  if (locked || order.length) return models.value.slice(0, MOST_COLUMNS).map(({ name }) => ({ model: name }));
  return recalled()
    .filter(({ model }) => modelOf(model))
    .slice(0, MOST_COLUMNS);
}

function recalled() {
  try {
    const found = JSON.parse(recall(SETTINGS) ?? "[]");
    return found.map(({ model, system, template, parameters }) => ({ model, system, template, parameters }));
  } catch {
    return [];
  }
}

/** At least two: of models that have no column yet, those that can answer now first. */
function filled(wanted) {
  const found = [...wanted];
  while (found.length < LEAST_COLUMNS) {
    const other = unused(found.map(({ model }) => model));
    found.push(other ? { model: other } : (found[0] ?? { model: "" }));
  }
  return found;
}

function unused(names) {
  const used = new Set(names.map((name) => modelOf(name)?.name ?? name));
  const free = (models.value ?? []).filter((model) => !used.has(model.name));
  return (free.find((model) => model.state === "ready") ?? free[0])?.name;
}
