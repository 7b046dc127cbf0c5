/** How the server does, looked at every second while the page is seen, and what it did in the last ten minutes. */
import { batch, signal, useEffect } from "../lib/html.js";
import { returns } from "../lib/connection.js";
import { getJson } from "../lib/http.js";
import { Pace } from "../lib/pace.js";
import { Recent, STEPS, STEP_MS, addActivity, addStory, addUsage, hasFailed } from "../lib/rates.js";

/** As GET /admin/status and GET /ready tell; null until they are known. */
export const status = signal(null);
export const readiness = signal(null);
/** What happened lately; it is written in place, and `tick` changes when it was. */
export const recent = signal(new Recent(Infinity));
export const tick = signal(0);
/** Why the state is not known, an ApiError; null while all is well. */
export const failure = signal(null);

const LEAST_MS = 1000;
/** Looking takes a tenth of the time at most, however many models there are. */
const SHARE = 10;
/** The readiness is looked at with every so many looks. */
const SELDOM = 5;
/** The past is read in pages of so many requests, at most so many of them; what is older, as sums of such spans. */
const PAGE = 1000;
const PAGES = 2;
const SPAN_MS = 6 * STEP_MS;

const AFTER_FAILURE_MS = 5000;
const tries = signal(0);

/** Between this machine's clock and the server's, in ms. */
let ahead = 0;
let shown = null;

/** This moment by the server's clock, in ms. */
export const serverNow = () => Date.now() + ahead;

/** The moment up to which charts are complete. */
export const chartEnd = () => Math.floor(serverNow() / STEP_MS) * STEP_MS;

/** Keep all of it up to date as long as a component is shown and its tab is looked at. */
export function useObserving() {
  const back = returns.value + tries.value;
  useEffect(() => {
    let stop = null;
    const turn = () => {
      if (document.visibilityState === "visible") stop ??= begin();
      else {
        stop?.();
        stop = null;
      }
    };
    turn();
    document.addEventListener("visibilitychange", turn);
    return () => {
      document.removeEventListener("visibilitychange", turn);
      stop?.();
    };
  }, [back]);
}

/** Take in what a request's news tells beyond what the status does. */
export function heard(story) {
  const { value } = recent;
  const opened = story.opened_at * 1000;
  if (story.first_token_ms !== null && opened + story.first_token_ms >= value.since && !told.has(story.id)) {
    value.addFirst(story.model, story.first_token_ms, Math.min(serverNow(), opened + story.first_token_ms));
    if (story.state !== "ended") told.add(story.id);
  }
  if (story.state !== "ended") return;
  told.delete(story.id);
  // The status counts by models that there are; names that callers make up are none.
  if (story.model === "") {
    value.add("", "requests", 1, serverNow());
    if (hasFailed(story)) value.add("", "failed", 1, serverNow());
  }
}

/** Ids of requests that run and whose first token is counted. */
const told = new Set();

/** Look again at once, after a failure. */
export function observeAgain() {
  tries.value += 1;
}

function begin() {
  const abort = new AbortController();
  (async () => {
    while (!abort.signal.aborted) {
      try {
        await observe(abort.signal);
      } catch (error) {
        if (abort.signal.aborted) return;
        failure.value = error;
        // The return of a server that is away begins anew.
        if (error.isOffline) return;
        await pause(AFTER_FAILURE_MS, abort.signal).catch(() => {});
      }
    }
  })();
  return () => abort.abort();
}

async function observe(abort) {
  let before = await look(abort);
  let from = serverNow();
  told.clear();
  const found = await past(from, abort);
  batch(() => {
    recent.value = found;
    tick.value += 1;
  });
  addSums(found, from, abort);
  const pace = new Pace(LEAST_MS, SHARE);
  for (let count = 1; ; count += 1) {
    await pause(pace.after(before.took), abort);
    const after = await look(abort, count % SELDOM !== 0);
    const to = serverNow();
    if (after.status.pid === before.status.pid) addActivity(found, before.status, after.status, from, to);
    found.forget(to);
    tick.value += 1;
    [before, from] = [after, to];
  }
}

async function look(signal, onlyStatus = false) {
  const began = performance.now();
  const [now, ready] = await Promise.all([
    getJson("/admin/status", { signal }),
    onlyStatus ? null : readinessOf(signal),
  ]);
  const took = performance.now() - began;
  if (shown !== now.pid) {
    ahead = (now.started_at + now.uptime_seconds) * 1000 - Date.now();
    shown = now.pid;
  }
  batch(() => {
    status.value = now;
    if (ready) readiness.value = ready;
    failure.value = null;
  });
  return { status: now, took };
}

/** What /ready says, also while the server ends, which it tells with a status of failure. */
async function readinessOf(signal) {
  try {
    return await getJson("/ready", { signal });
  } catch (error) {
    if (error.name === "AbortError" || error.isOffline) throw error;
    return error.status === 503 ? { status: "draining", reasons: [], failed_models: [] } : null;
  }
}

/** The last ten minutes by the stories of their requests, as far back as these tell. */
async function past(now, signal) {
  const oldest = now - (STEPS + 1) * STEP_MS;
  const found = new Recent(oldest);
  let before = "";
  for (let page = 0; page < PAGES; page += 1) {
    const { requests, next } = await getJson(`/admin/requests?limit=${PAGE}${before && `&before=${before}`}`, {
      signal,
    });
    for (const story of requests) {
      if (story.opened_at * 1000 + (story.total_ms ?? 0) < oldest) continue;
      addStory(found, story, now);
      if (story.first_token_ms === null) continue;
      found.addFirst(story.model, story.first_token_ms, story.opened_at * 1000 + story.first_token_ms);
      if (story.state !== "ended") told.add(story.id);
    }
    const last = requests.at(-1);
    if (next === null || last.opened_at * 1000 < oldest) return found;
    before = next;
  }
  found.since = Number(before) * 1000;
  return found;
}

/** Of so many requests that they are not read one by one, their sums: the latest first. */
async function addSums(found, now, signal) {
  const oldest = now - (STEPS + 1) * STEP_MS;
  found.sinceOf.waiting = found.since;
  try {
    while (found.since > oldest) {
      const until = found.since;
      const since = Math.max(oldest, (Math.ceil(until / SPAN_MS) - 1) * SPAN_MS);
      const path = `/admin/usage?by=model,error&since=${since / 1000}&until=${until / 1000}`;
      const { rows } = await getJson(path, { signal });
      addUsage(found, rows, since, until);
      found.since = since;
      tick.value += 1;
    }
  } catch {
    // What cannot be read stays unknown; the state itself says what is amiss.
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
