/** The models that this caller may ask, kept up to date while the page is looked at. */
import { effect, signal } from "./html.js";
import { connected, returns } from "./connection.js";
import { getJson } from "./http.js";
import { session } from "./session.js";

/** As GET /web/api/models tells, in the operator's order; null until they are known. */
export const models = signal(null);
/** Why they are not known, an ApiError; null while all is well. */
export const modelsError = signal(null);

const EVERY_MS = 5000;
const SOON_MS = 1000;
let timer = 0;

/** Look at the models again, now. */
export async function refreshModels() {
  clearTimeout(timer);
  if (!session.value?.signed_in) return;
  try {
    const told = (await getJson("/web/api/models")).models;
    models.value = ordered(told, session.value.models);
    modelsError.value = null;
  } catch (error) {
    modelsError.value = error;
  }
  const busy = models.value?.some((model) => model.state === "loading");
  timer = setTimeout(again, busy ? SOON_MS : EVERY_MS);
}

function again() {
  // A list that is fixed at the start is not asked for again; its states are.
  if (document.visibilityState === "visible" && connected.value) refreshModels();
  else timer = setTimeout(again, EVERY_MS);
}

function ordered(told, order) {
  if (!order.length) return told;
  const place = new Map(order.map((name, index) => [name, index]));
  return told.toSorted((a, b) => (place.get(a.name) ?? order.length) - (place.get(b.name) ?? order.length));
}

/** The model of this name or alias, or the one whose adapter it is; undefined when there is none. */
export function modelOf(name) {
  return models.value?.find(
    (model) => model.name === name || model.aliases.includes(name) || model.adapters.includes(name),
  );
}

effect(() => {
  if (session.value?.signed_in && returns.value >= 0) refreshModels();
});
