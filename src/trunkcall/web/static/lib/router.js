/** Which page is shown: `#/PAGE/ARGUMENT`, and what links bring along in the query (`?model=`). */
import { signal } from "./html.js";

function read() {
  const [page = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  return { page, argument: rest.join("/") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** {page, argument}; page is empty for the first one that the caller may open. */
export const route = signal(read());
/** What the link that opened this page brought along, as URLSearchParams. */
export const query = new URLSearchParams(location.search);

addEventListener("hashchange", () => {
  route.value = read();
});

/** The address of a page, for links. */
export function address(page, argument = "") {
  // Commas have no meaning of their own there, and are easier on the eye.
  return `#/${page}${argument ? `/${encodeURIComponent(argument).replaceAll("%2C", ",")}` : ""}`;
}

/** Go to a page. replace: without a step in the browser's history. */
export function go(page, argument = "", { replace = false } = {}) {
  if (replace) {
    history.replaceState(null, "", address(page, argument));
    route.value = read();
  } else {
    location.hash = address(page, argument);
  }
}
