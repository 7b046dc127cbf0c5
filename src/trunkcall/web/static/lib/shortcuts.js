/** Keyboard shortcuts of the whole page, and the list of them that is shown. */
import { effect, signal } from "./html.js";
import { recall, remember } from "./remembered.js";

const NAME = "trunkcall.single_keys";

/** Whether keys such as "n" work by themselves; those who dictate to their machine switch them off. */
export const singleKeys = signal(recall(NAME) !== "off");

effect(() => remember(NAME, singleKeys.value ? "on" : "off"));

/** Whether the list is shown. */
export const shortcutsOpen = signal(false);

/** Those that work now: {keys, label, run, always}; the last one of the same keys wins. */
export const shortcuts = signal([]);

/**
 * A shortcut for as long as it is wanted; gives how to withdraw it. keys: "n", "?", "Escape", "Mod+k" (Ctrl, on a Mac
 * Cmd) or "Mod+Shift+o"; label: what it does, for the list; run: is given the event, which is used up unless it gives
 * false; always: also while somebody types, and over a dialog
 * where it is not Escape.
 */
export function shortcut({ keys, label, run, always = keys.startsWith("Mod+") }) {
  const one = { keys, label, run, always };
  shortcuts.value = [...shortcuts.value, one];
  return () => {
    shortcuts.value = shortcuts.value.filter((other) => other !== one);
  };
}

/** Whether this machine's keyboards say Cmd rather than Ctrl. */
export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

/** The keys as they are written on a keyboard: "Mod+k" -> ["Ctrl", "K"]. */
export function keycaps(keys) {
  return keys.split("+").map((key) => {
    if (key === "Mod") return isMac ? "⌘" : "Ctrl";
    if (key === "Escape") return "Esc";
    return key.length === 1 ? key.toUpperCase() : key;
  });
}

/** The keys of an event, as `shortcut` has them. */
export function keysOf(event) {
  const mod = isMac ? event.metaKey : event.ctrlKey;
  if (event.altKey || (isMac ? event.ctrlKey : event.metaKey)) return "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Shift is part of how a sign such as ? is typed.
  const shift = event.shiftKey && (mod || event.key.length > 1);
  return [mod && "Mod", shift && "Shift", key].filter(Boolean).join("+");
}

function isTyping(target) {
  return target.matches?.("input, textarea, select, [contenteditable]") ?? false;
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const keys = keysOf(event);
  // What lies over the page has its own use of Escape; toasts, which close by themselves, do not.
  const covered = document.querySelector('dialog[open], [popover="auto"]:popover-open') !== null;
  const busy = covered || isTyping(event.target) || (!singleKeys.peek() && event.key.length === 1);
  for (const one of shortcuts.peek().toReversed()) {
    if (one.keys !== keys || (busy && !one.always) || (covered && keys === "Escape")) continue;
    if (one.run(event) === false) continue;
    event.preventDefault();
    return;
  }
});
