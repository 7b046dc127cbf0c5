/** Escape stops all answers of a comparison. */

/** Stop what runs; gives false where the key is not for that. */
export function stopAll(comparison) {
  if (!comparison.running) return false;
  comparison.stop();
  return true;
}
