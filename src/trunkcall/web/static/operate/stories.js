/** The last requests as they come: filtered, held still, and older ones where they are asked for. */
import { batch, effect, signal, useEffect } from "../lib/html.js";
import { connected, returns } from "../lib/connection.js";
import { watchEvents } from "../lib/events.js";
import { getJson } from "../lib/http.js";
import { Pace } from "../lib/pace.js";
import { heard } from "./observed.js";
import { fits, merged } from "./story.js";

/** {model, key, error}: which are shown; empty for all. */
export const filter = signal({ model: "", key: "", error: "" });
/** The stories that are shown, newest first; null until they are known. */
export const stories = signal(null);
/** How many have come that are not shown, as the list is held still. */
export const waiting = signal(0);
export const held = signal(false);
/** Whether there are older ones. */
export const more = signal(false);
export const failure = signal(null);
/** How many events the page was too slow for, since it was opened. */
export const missed = signal(0);
export const fetchingOlder = signal(false);

const PAGE = 100;
const DRAW_MS = 1000;
/** Requests that run are looked at so often: events tell only when they come and end. */
const RUNNING_MS = 2000;
const SHARE = 20;

let most = PAGE;
let reading = 0;
/** Came since the list was last drawn, by id. */
let fresh = new Map();

/** Keep the list up to date as long as a component is shown. */
export function useStories() {
  const back = returns.value;
  const wanted = filter.value;
  useEffect(() => {
    most = PAGE;
    more.value = false;
    stories.value = null;
    refresh();
  }, [wanted]);
  useEffect(() => {
    if (stories.peek() !== null) refresh();
    const stop = watchEvents("request", take, () => connected.value && refresh());
    const drawing = setInterval(draw, DRAW_MS);
    const pace = new Pace(RUNNING_MS, SHARE);
    let over = false;
    let timer = 0;
    const follow = async () => {
      const began = performance.now();
      if (document.visibilityState === "visible" && connected.value && someRun()) await refresh();
      if (!over) timer = setTimeout(follow, pace.after(performance.now() - began));
    };
    timer = setTimeout(follow, RUNNING_MS);
    return () => {
      over = true;
      stop();
      clearInterval(drawing);
      clearTimeout(timer);
    };
  }, [back]);
}

/** Read the newest again, now. */
export async function refresh() {
  const number = (reading += 1);
  try {
    const found = await getJson(`/admin/requests?limit=${PAGE}${query(filter.peek())}`);
    // A later reading may have been answered sooner.
    if (number !== reading) return;
    // Those that have ended are told by events.
    found.requests.filter((one) => one.state !== "ended").forEach(heard);
    batch(() => {
      // What follows on pages that were read already is known from them.
      if (most === PAGE) more.value = found.next !== null;
      failure.value = null;
      show(found.requests);
    });
  } catch (error) {
    if (number === reading) failure.value = error;
  }
}

/** Read those that are older than the last one that is shown. */
export async function older() {
  const wanted = filter.peek();
  const before = stories.peek().at(-1).opened_at;
  fetchingOlder.value = true;
  try {
    const found = await getJson(`/admin/requests?limit=${PAGE}&before=${before}${query(wanted)}`);
    if (filter.peek() !== wanted) return;
    batch(() => {
      most += PAGE;
      more.value = found.next !== null;
      failure.value = null;
      stories.value = merged(stories.peek(), found.requests);
    });
  } catch (error) {
    failure.value = error;
  } finally {
    fetchingOlder.value = false;
  }
}

function take({ event, data }) {
  if (event === "missed") {
    missed.value += data.count;
    return;
  }
  heard(data);
  if (fits(data, filter.peek())) fresh.set(data.id, data);
}

function draw() {
  // One whose first word has come may have ended before the list was known.
  if (fresh.size && stories.peek() !== null && document.visibilityState === "visible") show([]);
}

/** Put in what was read and what has come; new ones wait while the list is held still. */
function show(read) {
  const known = stories.peek() ?? [];
  const all = merged(known, merged(read, [...fresh.values()]));
  if (held.peek() && known.length) {
    const ids = new Set(known.map((one) => one.id));
    batch(() => {
      stories.value = all.filter((one) => ids.has(one.id));
      waiting.value = all.length - known.length;
    });
    for (const id of ids) fresh.delete(id);
    for (const one of read) if (!ids.has(one.id)) fresh.set(one.id, one);
    if (fresh.size > most) fresh = new Map([...fresh].slice(-most));
    return;
  }
  fresh = new Map();
  batch(() => {
    waiting.value = 0;
    if (all.length > most) more.value = true;
    stories.value = all.slice(0, most);
  });
}

function someRun() {
  return stories.peek()?.some((one) => one.state !== "ended") ?? false;
}

function query(wanted) {
  return Object.entries(wanted)
    .filter(([, word]) => word)
    .map(([name, word]) => `&${name}=${encodeURIComponent(word)}`)
    .join("");
}

effect(() => {
  if (!held.value && fresh.size && stories.peek() !== null) show([]);
});
