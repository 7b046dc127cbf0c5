/** Small settings of this browser; where storage is forbidden they last as long as the page. */

const here = new Map();

/** The text that was kept under a name, or null. */
export function recall(name) {
  try {
    // What could not be kept is newer than what was.
    return here.get(name) ?? localStorage.getItem(name);
  } catch {
    return here.get(name) ?? null;
  }
}

/** Keep a text under a name; gives whether it outlasts the page, as it does not where storage is full. */
export function remember(name, text) {
  here.set(name, text);
  try {
    localStorage.setItem(name, text);
  } catch {
    return false;
  }
  here.delete(name);
  return true;
}

/** Forget what was kept under a name. */
export function forget(name) {
  here.delete(name);
  try {
    localStorage.removeItem(name);
  } catch {
    // There was nothing to remove.
  }
}
