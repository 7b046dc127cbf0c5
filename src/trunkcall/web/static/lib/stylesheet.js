/** Stylesheets of single pages, fetched when first used; the frame shows a page when they are there: nothing jumps. */
import { signal } from "./html.js";

/** How many are on their way. */
export const stylesheetsComing = signal(0);

const known = new Map();

/**
 * In a component: use a stylesheet, by its path below /web/ ("styles/chat.css"). Gives whether it is there; the frame
 * keeps a page out of sight until then, so that a page need not look at this.
 */
export function useStylesheet(path) {
  return of(path).there.value;
}

/** Fetch a stylesheet before it is used; settles when it is there, or cannot be had. */
export function fetchStylesheet(path) {
  return of(path).settled;
}

function of(path) {
  if (!known.has(path)) known.set(path, add(path));
  return known.get(path);
}

function add(path) {
  const there = signal(false);
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = `/web/${path}`;
  const settled = new Promise((resolve) => {
    const settle = () => {
      there.value = true;
      stylesheetsComing.value -= 1;
      resolve();
    };
    link.onload = settle;
    link.onerror = () => {
      // Plain is better than nothing, and the next page that uses it asks again.
      known.delete(path);
      link.remove();
      settle();
    };
  });
  stylesheetsComing.value = stylesheetsComing.peek() + 1;
  document.head.append(link);
  return { there, settled };
}
