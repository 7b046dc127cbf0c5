/** The models, the machine and the settings as administration tells them, while the page is open. */
import { batch, signal, useEffect } from "../lib/html.js";
import { watchEvents } from "../lib/events.js";
import { getJson } from "../lib/http.js";
import { refreshModels } from "../lib/models.js";
import { Pace } from "../lib/pace.js";
import { whileVisible } from "../lib/visible.js";

/** As GET /admin/models tells; null until they are known. */
export const views = signal(null);
/** As GET /admin/machine and GET /admin/settings tell; null until they are known. */
export const machine = signal(null);
export const settings = signal(null);
/** Why the models are not known, an ApiError; null while all is well. */
export const failure = signal(null);
/** What happened since the page was opened, newest first: {id, at, kind, name, what, why}. */
export const news = signal([]);

const LEAST_MS = 2000;
const SLOW_MS = 10_000;
/** Looking takes a twentieth of the time at most, however many models there are. */
const SHARE = 20;
const KEPT = 200;

const TOGETHER_MS = 50;

let readings = 0;
let told = 0;
const arrived = [];
/** How each replica was told last; null until the first look. */
let known = null;
/** The models of which it was told, in the same way. */
let listed = new Set();

/** Look at the models again, now. */
export async function refresh() {
  const number = (readings += 1);
  try {
    const found = (await getJson("/admin/models")).models;
    // A later look may have been answered sooner.
    if (number !== readings) return;
    if (known === null) learn(found);
    batch(() => {
      views.value = found;
      failure.value = null;
    });
  } catch (error) {
    if (number === readings) failure.value = error;
  }
}

/** Look at the settings again, now. */
export async function refreshSettings() {
  try {
    settings.value = await getJson("/admin/settings");
  } catch {
    // The models tell why.
  }
}

async function refreshMachine() {
  try {
    machine.value = await getJson("/admin/machine");
  } catch {
    // The models tell why.
  }
}

/** Keep all of it up to date as long as a component is shown and its tab is looked at. */
export function useWatching() {
  useEffect(() => whileVisible(begin), []);
}

function begin() {
  const pace = new Pace(LEAST_MS, SHARE);
  let over = false;
  let timer = 0;
  let slowTimer = 0;
  const often = async () => {
    const began = performance.now();
    await refresh();
    if (!over) timer = setTimeout(often, pace.after(performance.now() - began));
  };
  const seldom = async () => {
    await Promise.all([refreshMachine(), refreshSettings()]);
    if (!over) slowTimer = setTimeout(seldom, SLOW_MS);
  };
  often();
  seldom();
  const stopEvents = watchEvents("model,replica,settings", take, () =>
    Promise.all([refresh(), refreshSettings()]),
  );
  return () => {
    over = true;
    clearTimeout(timer);
    clearTimeout(slowTimer);
    stopEvents();
  };
}

function take(event) {
  arrived.push(event);
  // A thousand may come at once: they are shown in one go.
  if (arrived.length === 1) setTimeout(takeAll, TOGETHER_MS);
}

async function takeAll() {
  const events = arrived.splice(0);
  const of = (kind) => events.filter(({ event }) => event === kind).map(({ data }) => data);
  const replicas = new Map(of("replica").map((replica) => [replica.id, replica]));
  batch(() => {
    tell(
      of("replica")
        .filter(isNews)
        .map(({ id, state, error }) => ({ kind: "replica", name: id, what: state, why: error })),
    );
    if (views.value && replicas.size) views.value = views.value.map((model) => withReplicas(model, replicas));
  });
  for (const { changed, restart } of of("settings")) {
    tell(changed.map((name) => ({ kind: "settings", name, what: "set" })));
    tell(restart.map((name) => ({ kind: "settings", name, what: "waits" })));
  }
  const models = [...new Set(of("model").map(({ name }) => name))];
  // After these, and when some were missed, nothing that was known is sure.
  if (events.length > of("replica").length) {
    await Promise.all([refresh(), refreshSettings()]);
    tell(models.map((name) => ({ kind: "model", name, what: became(name) })));
    if (models.length) refreshModels();
  }
}

/** Whether a replica is not as it was told last; whoever begins to listen is told of all of them. */
function isNews({ id, state, error, generation }) {
  const now = `${state} ${generation} ${error}`;
  const before = known?.get(id);
  known?.set(id, now);
  return known !== null && now !== before && (before !== undefined || state !== "off" || error !== "");
}

function learn(models) {
  listed = new Set(models.map(({ name }) => name));
  known = new Map(
    models
      .flatMap(({ replicas }) => replicas)
      .map((one) => [one.id, `${one.state} ${one.generation} ${one.error}`]),
  );
}

/** What has become of a model since it was told of last. */
function became(name) {
  const was = listed.delete(name);
  const is = views.value?.some((model) => model.name === name);
  if (is) listed.add(name);
  return !is ? "removed" : was ? "changed" : "added";
}

function withReplicas(model, replicas) {
  if (!model.replicas.some(({ id }) => replicas.has(id))) return model;
  return { ...model, replicas: model.replicas.map((one) => replicas.get(one.id) ?? one) };
}

function tell(pieces) {
  const at = new Date();
  const fresh = pieces.map((piece) => ({ id: (told += 1), at, why: "", ...piece }));
  if (fresh.length) news.value = [...fresh.reverse(), ...news.value].slice(0, KEPT);
}
