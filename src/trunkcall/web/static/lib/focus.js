/** Where the keyboard goes on when what it was on is not there any longer. */

/**
 * Once the page is drawn anew, and if nothing in it has the keyboard by then, give it to the first of these that can
 * take it: find() gives elements, or nothing in their place.
 */
export function focusNext(find) {
  requestAnimationFrame(() => {
    if (document.activeElement !== document.body) return;
    [...find()].find((element) => element && !element.disabled)?.focus({ preventScroll: true });
  });
}

/** Whether there is a keyboard as a rule: on a phone a text that is focused would bring one up. */
export const hasKeyboard = () => matchMedia("(pointer: fine)").matches;
