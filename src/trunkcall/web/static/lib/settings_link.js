/** Links that bring settings along, `?model=…&temperature=0.2`: no texts of a conversation, and never a key. Pure. */
import { PARAMETERS, chosen, readParameter } from "./parameters.js";

const TEXTS = ["model", "system", "template"];

/** The link to a new chat with these settings, at an address such as `location`. */
export function linkOf({ model, system, template, parameters }, { origin, pathname }) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ model, system, template })) if (value) query.set(name, value);
  for (const [name, value] of Object.entries(chosen(parameters))) {
    for (const one of [value].flat()) query.append(name, one);
  }
  return `${origin}${pathname}?${query}#/chat`;
}

/**
 * What a link brings along: {settings, wrong, found}; settings: some of model, system, template, parameters; wrong: the
 * names of those that cannot be read; found: whether there was anything.
 */
export function settingsOf(query) {
  const settings = {};
  const parameters = {};
  const wrong = [];
  for (const name of TEXTS) if (query.get(name)) settings[name] = query.get(name);
  for (const parameter of PARAMETERS) {
    const { name, list } = parameter;
    if (!query.has(name)) continue;
    if (list) {
      parameters[name] = query.getAll(name).filter(Boolean);
      continue;
    }
    const { value, problem } = readParameter(parameter, query.get(name));
    if (problem) wrong.push(name);
    else if (value !== undefined) parameters[name] = value;
  }
  if (Object.keys(parameters).length) settings.parameters = parameters;
  return { settings, wrong, found: wrong.length > 0 || Object.keys(settings).length > 0 };
}

/** A query without what settingsOf reads. */
export function withoutSettings(query) {
  const rest = new URLSearchParams(query);
  for (const name of [...TEXTS, ...PARAMETERS.map((parameter) => parameter.name)]) rest.delete(name);
  return rest;
}
