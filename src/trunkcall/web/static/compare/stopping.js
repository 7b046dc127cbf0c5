/** Escape stops all answers of a comparison, after what lies over the page was closed. */

/** Stop what runs; gives false where the key is not for that. */
export function stopAll(comparison) {
  if (!comparison.running || document.querySelector("dialog[open], [popover]:popover-open")) return false;
  comparison.stop();
  return true;
}
