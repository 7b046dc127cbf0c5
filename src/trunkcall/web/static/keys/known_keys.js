/** All keys as administration tells them, kept up to date, and what is done with them. */
import { signal, useEffect } from "../lib/html.js";
import { connected, returns } from "../lib/connection.js";
import { watchEvents } from "../lib/events.js";
import { deleteJson, getJson, sendJson } from "../lib/http.js";
import { Pace } from "../lib/pace.js";

/** Views of keys, by name; null until they are known. */
export const keys = signal(null);
/** Why they are not known, an ApiError; null while all is well. */
export const failure = signal(null);

/** What keys use is looked at so often. */
const EVERY_MS = 5000;
const SHARE = 20;
let reading = 0;

const pathOf = (name) => `/admin/keys/${encodeURIComponent(name)}`;

/** Look at the keys again, now. */
export async function refresh() {
  const number = (reading += 1);
  try {
    const found = (await getJson("/admin/keys")).keys;
    // A later look may have been answered sooner.
    if (number !== reading) return;
    keys.value = found;
    failure.value = null;
  } catch (error) {
    if (number === reading) failure.value = error;
  }
}

/** Keep them up to date as long as a component is shown. */
export function useKeys() {
  const back = returns.value;
  useEffect(() => {
    const pace = new Pace(EVERY_MS, SHARE);
    let timer = 0;
    let over = false;
    const look = async () => {
      const began = performance.now();
      if (document.visibilityState === "visible" && connected.value) await refresh();
      if (!over) timer = setTimeout(look, pace.after(performance.now() - began));
    };
    look();
    const stop = watchEvents("key", refresh);
    return () => {
      over = true;
      clearTimeout(timer);
      stop();
    };
  }, [back]);
}

/** Make a key; gives its secret, which is told this once. Raises ApiError. */
export async function create(entry) {
  return (await sendJson("/admin/keys", entry)).secret;
}

/** Change fields of a key, or `disabled`; raises ApiError. */
export async function change(name, changes) {
  await sendJson(pathOf(name), changes, { method: "PATCH" });
  await refresh();
}

/** Revoke a key, for good; raises ApiError. */
export async function revoke(name) {
  await deleteJson(pathOf(name));
  await refresh();
}
