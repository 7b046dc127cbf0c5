/** LaTeX as MathML; the library and its styles are fetched with the first formula. */

const LONGEST = 4000;
const MOST_KEPT = 500;
const MATHML = "http://www.w3.org/1998/Math/MathML";
const FORBIDDEN = /^(?:on|id$|name$|href$|src|xlink|action)/i;

/** No links, classes or images by formulas, nothing larger than 50 em, and no macros that grow without end. */
const SAFE = { throwOnError: true, trust: false, maxSize: [50, 50], maxExpand: 300 };

const kept = new Map();
let temml = null;
let loading = null;

/** An element that shows the formula: at once as its source, and as a formula when the library is there. */
export function formula(source, display) {
  if (temml !== null) return drawn(source, display);
  load();
  const waiting = asText(source);
  waiting.classList.add("waiting-formula");
  waiting.dataset.display = display ? "block" : "inline";
  return waiting;
}

function load() {
  loading ??= Promise.all([import("../vendor/temml.js"), styles()]).then(
    ([module]) => {
      temml = module.default;
      for (const waiting of document.querySelectorAll(".waiting-formula")) {
        waiting.replaceWith(drawn(waiting.textContent, waiting.dataset.display === "block"));
      }
    },
    () => {
      // The next formula asks again; this one stays as its source.
      loading = null;
    },
  );
}

function styles() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = "/web/vendor/temml.css";
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}

function drawn(source, display) {
  const name = `${display ? "block" : "inline"} ${source}`;
  if (!kept.has(name)) {
    if (kept.size >= MOST_KEPT) kept.clear();
    kept.set(name, draw(source, display) ?? asText(source));
  }
  return kept.get(name).cloneNode(true);
}

/** null for what cannot be read. */
function draw(source, display) {
  if (source.length > LONGEST) return null;
  const frame = document.createElement("span");
  frame.className = display ? "formula display" : "formula";
  if (display) frame.tabIndex = 0;
  try {
    temml.render(source, frame, { displayMode: display, ...SAFE });
  } catch {
    return null;
  }
  for (const element of frame.querySelectorAll("*")) {
    if (element.namespaceURI !== MATHML) return null;
    for (const { name } of [...element.attributes]) if (FORBIDDEN.test(name)) element.removeAttribute(name);
  }
  return frame;
}

function asText(source) {
  const code = document.createElement("code");
  code.className = "formula-source";
  code.textContent = source;
  return code;
}
