/** The battle of this page: who may meet in it, the round that is on, and the settings of both sides. */
import { signal } from "../lib/html.js";
import { drawPair } from "../lib/drawing.js";
import { models } from "../lib/models.js";
import { recall, remember } from "../lib/remembered.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { Column } from "./column.js";
import { Comparison } from "./comparison.js";

const ABSENT = "trunkcall.battle.absent";

/** The round, a Comparison whose models have no names until they are drawn. */
export const round = signal(null);
/** What both are asked with: {system, template, parameters}; null before the first round. */
export const settings = signal(null);
/** Names of the models that do not take part. */
export const absent = signal(recalled());

/** Models that could meet: all but those that cannot answer now. */
export const able = () =>
  (models.value ?? []).filter((model) => model.state !== "failed" && model.state !== "draining");

/** Models that may be drawn. images: with images, those that are known to take none are left out. */
export function drawable(images = false) {
  return able().filter((model) => !absent.value.includes(model.name) && !(images && model.images === false));
}

/** Have a model take part, or not. */
export function takePart(name, does) {
  absent.value = does ? absent.value.filter((other) => other !== name) : [...absent.value, name];
  remember(ABSENT, JSON.stringify(absent.value));
}

/** Begin a round; what was typed stays. */
export function newRound() {
  const before = round.value;
  before?.stop();
  settings.value ??= { system: "", template: "", parameters: session.value.parameters };
  const sides = [0, 1].map(() => new Column({ model: "", ...settings.value }));
  round.value = new Comparison(sides, { mode: "anonymous", draft: before?.draft.value });
}

/** Ask both, who are drawn now if it is the first question of the round. */
export function askBoth(draft) {
  const { columns, isEmpty } = round.value;
  if (isEmpty && columns.value[0].model === "") {
    const pair = drawPair(drawable(draft.images.length > 0).map((model) => model.name));
    columns.value.forEach((column, index) => column.settle({ model: pair[index] }));
  }
  round.value.ask(draft);
}

/** Change the settings of both. */
export function settleBoth(some) {
  settings.value = { ...settings.value, ...some };
  for (const column of round.value.columns.value) column.settle(some);
}

/** The verdict in words that tell no more than the names. */
export function toldOf(comparison) {
  const [left, right] = comparison.columns.value.map((column) => column.last.asked.model);
  return t(`battle.told.${comparison.verdict.value.winner}`, { left, right });
}

function recalled() {
  try {
    return JSON.parse(recall(ABSENT) ?? "[]").filter((name) => typeof name === "string");
  } catch {
    return [];
  }
}
