/** All that this page may hand to a parser or start as a script: one character reference, and one worker. */

const REFERENCE = /^&[A-Za-z][A-Za-z0-9]{1,31};$/;
const WORKER = "/web/lib/highlighting_worker.js";

const rules = {
  createHTML(text) {
    if (!REFERENCE.test(text)) throw new TypeError("not a character reference");
    return text;
  },
  createScriptURL: () => WORKER,
};
// The page's policy allows this one name, and no other HTML or script from a text anywhere.
const policy = globalThis.trustedTypes?.createPolicy("trunkcall", rules) ?? rules;

/** The characters that a reference (&hellip;) names. Raises TypeError for anything else. */
export function charactersOf(reference) {
  return new DOMParser().parseFromString(policy.createHTML(reference), "text/html").body.textContent;
}

/** A worker that colours code. */
export function highlightingWorker() {
  return new Worker(policy.createScriptURL(""), { type: "module" });
}
