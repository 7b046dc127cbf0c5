/** How much room the window has. */
import { signal } from "./html.js";

const known = new Map();

/** A signal that says whether the window is at least so many pixels wide. */
export function atLeast(pixels) {
  if (!known.has(pixels)) {
    const media = matchMedia(`(min-width: ${pixels}px)`);
    const found = signal(media.matches);
    media.addEventListener("change", () => {
      found.value = media.matches;
    });
    known.set(pixels, found);
  }
  return known.get(pixels);
}
