/** The worker behind highlighting.js: {started} once it can work; {id, text, language} in, {id, parts} out. */
import highlight from "../vendor/highlight.js";

self.onmessage = ({ data: { id, text, language } }) => {
  self.postMessage({ id, parts: highlight.getLanguage(language) ? parts(text, language) : null });
};

self.postMessage({ started: true });

function parts(text, language) {
  const found = [];
  const walk = (node, scope) => {
    for (const child of node.children) {
      if (typeof child === "string") found.push([scope, child]);
      else walk(child, child.scope?.split(".")[0] ?? scope);
    }
  };
  walk(highlight.highlight(text, { language, ignoreIllegals: true })._emitter.root, "");
  return found;
}
