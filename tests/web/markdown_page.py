"""Markdown alone on the real page: `window.show(text, streaming)`, and what may stand in what it shows."""

from __future__ import annotations

from playwright.sync_api import Page

MOUNT = """async () => {
  const { html, render } = await import("/web/lib/html.js");
  const { Markdown } = await import("/web/components/markdown.js");
  const { fetchStylesheet } = await import("/web/lib/stylesheet.js");
  await fetchStylesheet("styles/markdown.css");
  const place = document.getElementById("app");
  window.show = (text, streaming = false) =>
    render(html`<main style=${{ maxWidth: "46rem", margin: "20px auto", padding: "0 14px" }}>
      <${Markdown} text=${text} streaming=${streaming} /></main>`, place);
  const nextFrame = window.requestAnimationFrame.bind(window);
  const noFrame = window.cancelAnimationFrame.bind(window);
  // What the page has still to draw.
  const planned = new Set();
  window.requestAnimationFrame = (run) => {
    const id = nextFrame((now) => {
      planned.delete(id);
      run(now);
    });
    planned.add(id);
    return id;
  };
  window.cancelAnimationFrame = (id) => {
    planned.delete(id);
    noFrame(id);
  };
  window.drawn = async () => {
    while (planned.size) await frame();
  };
  window.frame = () => new Promise((resolve) => nextFrame(() => setTimeout(resolve)));
  // Until all is drawn and nothing has changed for some frames; gives the longest time in ms that the page could not do
  // anything else.
  window.settled = async () => {
    let quiet = 0;
    let longest = 0;
    const watch = new MutationObserver(() => (quiet = 0));
    watch.observe(place, { childList: true, subtree: true, characterData: true });
    for (let last = performance.now(); quiet < 3; quiet += 1) {
      await frame();
      if (planned.size) quiet = 0;
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
    watch.disconnect();
    return longest;
  };
  window.shown = () => document.querySelector(".markdown");
  window.grow = (text, steps = 12) => {
    show("", true);
    for (let step = 1; step <= steps; step += 1) show(text.slice(0, (text.length * step) / steps), true);
  };
}"""

INSPECT = r"""() => {
  const HTML = "http://www.w3.org/1999/xhtml";
  const MATHML = "http://www.w3.org/1998/Math/MathML";
  const allowed = {
    a: ["href", "target", "rel", "title"], img: ["src", "alt", "decoding"], ol: ["start"], button: ["type", "aria-pressed"],
    div: ["tabindex", "role", "aria-label"], span: ["role", "aria-label", "tabindex"], pre: ["tabindex"], code: ["dir"],
    ...Object.fromEntries(("p h3 h4 h5 h6 ul li blockquote figure figcaption table thead tbody tr th td hr br bdi " +
      "b strong i em u s del ins mark small sub sup kbd").split(" ").map((name) => [name, []])),
  };
  const wrong = [];
  for (const element of shown().querySelectorAll("*")) {
    const name = element.localName;
    const isFormula = element.closest(".formula") !== null;
    if (element.namespaceURI === MATHML ? !isFormula : element.namespaceURI !== HTML || !allowed[name]) wrong.push(name);
    for (const { name: attribute, value } of element.attributes) {
      const isOurs = attribute === "class" || attribute.startsWith("data-") || allowed[name]?.includes(attribute);
      const isStyle = attribute === "style" && (isFormula || element.matches(".part"));
      const isOfMath = element.namespaceURI === MATHML && !/^(?:on|id$|name$|href$|src|xlink)/i.test(attribute);
      if (!isOurs && !isStyle && !isOfMath) wrong.push(`${name} ${attribute}=${value}`);
    }
    if (name === "a") {
      if (!/^(?:https?:\/\/|mailto:)/.test(element.href)) wrong.push(`link to ${element.href}`);
      if (element.target !== "_blank" || !element.relList.contains("noopener")) wrong.push("a link that stays here");
    }
    if (name === "img" && !/^data:image\/(?:png|jpeg|webp|gif);base64,/.test(element.src)) wrong.push(element.src);
  }
  if ("hostile" in window) wrong.push("a script has run");
  return wrong;
}"""


def mount(page: Page) -> None:
    """page: of the fixture `alone`, or any that serves the page's files."""
    page.evaluate(MOUNT)
