/** The caller's API key: kept for this tab, or for this browser when its user wants to stay signed in. */
import { signal } from "./html.js";
import { forget, recall, remember } from "./remembered.js";

const NAME = "trunkcall.key";
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("trunkcall.key");

function first() {
  try {
    return sessionStorage.getItem(NAME) ?? recall(NAME) ?? "";
  } catch {
    return recall(NAME) ?? "";
  }
}

/** What shows who calls, as an Authorization header has it; empty without a key. */
export const key = signal(first());

/** Use a key from now on. shown: `Bearer KEY` or HTTP's `Basic …`; stay: also after the browser was closed. */
export function keepKey(shown, stay) {
  dropKey();
  key.value = shown;
  if (stay && remember(NAME, shown)) return;
  try {
    sessionStorage.setItem(NAME, shown);
  } catch {
    // Without storage it holds until the page is left.
  }
}

/** Use no key, here and in what was kept; everywhere: in all tabs of this browser. */
export function dropKey({ everywhere = false } = {}) {
  key.value = "";
  forget(NAME);
  try {
    sessionStorage.removeItem(NAME);
  } catch {
    // There was nothing to remove.
  }
  if (everywhere) channel?.postMessage("dropped");
}

/** The name that was given with a password; empty for a key. */
export function userName() {
  const [scheme, shown = ""] = key.value.split(" ");
  if (scheme !== "Basic") return "";
  const bytes = Uint8Array.from(atob(shown), (sign) => sign.charCodeAt(0));
  return new TextDecoder().decode(bytes).split(":")[0];
}

/** The headers that show the key. */
export function authorization() {
  return key.peek() ? { authorization: key.peek() } : {};
}

/** Be told when another tab signs out, or signs in to stay while nobody is here: callback(whether signed in). */
export function onOtherTabs(callback) {
  channel?.addEventListener("message", () => {
    dropKey();
    callback(false);
  });
  addEventListener("storage", (event) => {
    if (event.key !== NAME || !event.newValue || key.peek()) return;
    key.value = event.newValue;
    callback(true);
  });
}
