/** The conversations of this browser: which one is open, the list of all, and what is done with them as wholes. */
import { fresh, holds, merged } from "../lib/conversation.js";
import { signal } from "../lib/html.js";
import { newId } from "../lib/ids.js";
import { modelOf, models } from "../lib/models.js";
import { recall, remember } from "../lib/remembered.js";
import { go } from "../lib/router.js";
import { session } from "../lib/session.js";
import { amend, drop, keep, onOtherTabs, one, scan } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";
import { LiveConversation } from "./live_conversation.js";

const STORE = "conversations";
const SETTINGS = "trunkcall.chat.settings";

/** The LiveConversation that is shown; null until there is one. */
export const current = signal(null);
/** What the list shows, the last one changed first: [{id, title, changed, model}]; null until it is known. */
export const headings = signal(null);

const live = new Map();

/** Begin a new one and show it; settings: some of model, system, template, parameters, else those of the one before. */
export function begin(settings = current.value ? settingsOf(current.value.data.value) : lastSettings()) {
  show(new LiveConversation(fresh({ id: newId(), at: Date.now(), ...settings }), { onKept: note }));
}

/** Show one that is kept; gives whether it is there. */
export async function open(id) {
  const known = live.get(id);
  if (known && !known.gone.value) {
    current.value = known;
    return true;
  }
  const data = (await one(STORE, id)) ?? null;
  if (data === null) return false;
  show(new LiveConversation(data, { kept: true, onKept: note }));
  return true;
}

function show(conversation) {
  live.set(conversation.id, conversation);
  current.value = conversation;
}

/** Whether an answer to this one comes, in this tab. */
export const isAnswering = (id) => live.get(id)?.isAnswering ?? false;

/** Change the settings of the one that is shown; new ones begin with them. */
export function settle(settings) {
  current.value.settle(settings);
  remember(SETTINGS, JSON.stringify(settingsOf(current.value.data.value)));
}

const settingsOf = ({ model, system, template, parameters }) => ({ model, system, template, parameters });

function lastSettings() {
  try {
    const begun = { model: "", system: "", template: "", parameters: session.value.parameters };
    const { model, system, template, parameters } = { ...begun, ...JSON.parse(recall(SETTINGS) ?? "{}") };
    return { model, system, template, parameters };
  } catch {
    return {};
  }
}

/** The name of the model to be asked: the conversation's own, else one that can answer at once, else the first. */
export function modelOfCurrent() {
  const own = current.value?.data.value.model ?? "";
  if (own || !models.value) return own;
  return (models.value.find((model) => model.state === "ready") ?? models.value[0])?.name ?? "";
}

/** Whether the model that is asked next takes images; null where that is not known. */
export const takesImages = () => modelOf(modelOfCurrent())?.images ?? null;

/** Read the list. */
export async function loadHeadings() {
  const found = [];
  await scan(STORE, (data) => found.push(headingOf(data)));
  headings.value = found.sort(lastFirst);
}

const headingOf = ({ id, title, changed, model }) => ({ id, title, changed, model });
const lastFirst = (a, b) => b.changed - a.changed;

function note(data) {
  if (headings.value === null) return;
  const known = headings.value.find((one) => one.id === data.id);
  const heading = headingOf(data);
  if (known && Object.keys(heading).every((name) => known[name] === heading[name])) return;
  headings.value = [heading, ...headings.value.filter((one) => one.id !== data.id)].sort(lastFirst);
}

function strike(id) {
  if (headings.value !== null) headings.value = headings.value.filter((one) => one.id !== id);
}

/** The ids of those that hold all words of a text, in their titles or messages. */
export async function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set();
  await scan(STORE, (data) => holds(data, words) && found.add(data.id));
  return found;
}

/** Give one another title. */
export async function rename(id, title) {
  if (!(await opened(id))) return;
  live.get(id).rename(title);
}

/** Read one into the open ones, without showing it. */
async function opened(id) {
  if (live.has(id)) return true;
  const data = (await one(STORE, id)) ?? null;
  if (data === null) return false;
  live.set(id, new LiveConversation(data, { kept: true, onKept: note }));
  return true;
}

/** Delete one; what is said of it has a button that brings it back. */
export async function remove(id) {
  const openHere = live.get(id);
  await openHere?.keep();
  const data = await one(STORE, id);
  const wasShown = current.value?.id === id;
  // Before it is gone: what goes away while it is shown was deleted in another tab.
  if (wasShown) {
    begin();
    go("chat", "new", { replace: true });
  }
  openHere?.leave();
  live.delete(id);
  strike(id);
  await drop(STORE, id);
  const undo = async () => {
    await keep(STORE, data);
    note(data);
    if (wasShown && (await open(id))) go("chat", id);
  };
  const text = t("list.deleted", { title: data?.title || t("chat.untitled") });
  if (data) notify(text, { action: { label: t("undo"), run: undo } });
}

/** All that are kept, or those with these ids, the last one changed first. */
export async function kept(ids = null) {
  const found = [];
  await Promise.all([...live.values()].map((one) => one.keep()));
  await scan(STORE, (data) => (ids === null || ids.includes(data.id)) && found.push(data));
  return found.sort(lastFirst);
}

/** Keep conversations that come from a file; those that are here already take up what is new to them. */
export async function bring(conversations) {
  for (const data of conversations) {
    await amend(STORE, data.id, (ours) => (ours ? merged(ours, data) : data));
    await live.get(data.id)?.follow();
  }
  // Once for all: a list that grows by one a thousand times is drawn as often.
  if (headings.value !== null) await loadHeadings();
}

addEventListener("pagehide", () => {
  for (const one of live.values()) one.putAside();
});

onOtherTabs(async ({ store, id }) => {
  if (store !== STORE) return;
  if (id === null) {
    await loadHeadings();
    await Promise.all([...live.values()].map((one) => one.follow()));
    return;
  }
  const data = await one(STORE, id);
  if (data) note(data);
  else if (data === undefined) strike(id);
  await live.get(id)?.follow();
});
