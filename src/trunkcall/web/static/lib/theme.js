/** Light, dark, or as the system has it. */
import { effect, signal } from "./html.js";
import { recall, remember } from "./remembered.js";

const NAME = "trunkcall.theme";

/** Those that there are, in the order in which they are gone through. */
export const THEMES = ["auto", "light", "dark"];

const known = (name) => (THEMES.includes(name) ? name : "auto");

/** "auto", "light" or "dark". */
export const theme = signal(known(recall(NAME)));

effect(() => {
  document.documentElement.dataset.theme = theme.value === "auto" ? "" : theme.value;
  if (recall(NAME) !== theme.value) remember(NAME, theme.value);
});

addEventListener("storage", (event) => {
  if (event.key === NAME) theme.value = known(event.newValue);
});

/** The next of the three. */
export function turnTheme() {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
}
