/** The sampling parameters that the page offers: their ranges, and what of them goes into a request. */

/**
 * name: in the request; min, max, step: of the slider; whole: whole numbers only; unbounded: more than max may be
 * typed; advanced: behind a fold; plain: without a slider; list: of texts. Texts are parameter.NAME and
 * parameter.NAME.help. A value that is not set stays the engine's own default.
 */
export const PARAMETERS = [
  { name: "temperature", min: 0, max: 2, step: 0.05 },
  { name: "top_p", min: 0, max: 1, step: 0.01 },
  { name: "max_tokens", min: 1, max: 8192, step: 1, whole: true, unbounded: true },
  { name: "top_k", min: -1, max: 200, step: 1, whole: true, unbounded: true, advanced: true },
  { name: "min_p", min: 0, max: 1, step: 0.01, advanced: true },
  { name: "typical_p", min: 0, max: 1, step: 0.01, advanced: true },
  { name: "repetition_penalty", min: 0.5, max: 2, step: 0.01, advanced: true },
  { name: "presence_penalty", min: -2, max: 2, step: 0.05, advanced: true },
  { name: "frequency_penalty", min: -2, max: 2, step: 0.05, advanced: true },
  { name: "seed", min: 0, max: 2 ** 31 - 1, step: 1, whole: true, advanced: true, plain: true },
  { name: "stop", list: true, advanced: true },
];

/** Only what is set, in the shape of a request; unknown names are left out. */
export function chosen(values) {
  const found = {};
  for (const { name, list } of PARAMETERS) {
    const value = values?.[name];
    if (list ? value?.length : value !== null && value !== undefined && value !== "") found[name] = value;
  }
  return found;
}

/**
 * What was typed for a parameter as {value}, undefined for nothing, or as {problem}, one of "number", "whole" and
 * "range".
 */
export function readParameter({ min, max, whole, unbounded }, typed) {
  const text = typed.trim().replace(",", ".");
  if (!text) return { value: undefined };
  const value = Number(text);
  if (!Number.isFinite(value)) return { problem: "number" };
  if (whole && !Number.isInteger(value)) return { problem: "whole" };
  if (value < min || (value > max && !unbounded)) return { problem: "range" };
  return { value };
}

/** Texts that end an answer, one on a line, as they are written and read; \n, \t and \\ stand for what is not seen. */
export const writeStops = (stops) =>
  (stops ?? []).map((text) => text.replace(/[\\\n\t]/g, (sign) => WRITTEN[sign])).join("\n");

/** The other way; empty lines are left out. */
export function readStops(text) {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replace(/\\([nt\\])/g, (_, sign) => ({ n: "\n", t: "\t", "\\": "\\" })[sign]));
}

const WRITTEN = { "\\": "\\\\", "\n": "\\n", "\t": "\\t" };
