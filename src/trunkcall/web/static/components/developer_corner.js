/** For developers: a request of the page as their programs would send it, and its answer as the server sent it. */
import { html, useId, useState } from "../lib/html.js";
import { cut, curl, javascript, python, VARIABLE } from "../lib/code_samples.js";
import { whole } from "../lib/format.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { IconButton } from "./button.js";
import { CopyButton } from "./copy_button.js";

const SAMPLES = { curl, python, javascript, json: ({ body }) => JSON.stringify(body, null, 2) };
/** Characters of one text that are shown; images are long. */
const MOST = 4000;
/** Events that are in the page at a time. */
const SPAN = 100;

/**
 * request: {path, body} as requestOf gives it, one that says hello without; frames: the raw events of its answer, as
 * Answer has them; model: which one is asked where there is no request.
 */
export function DeveloperCorner({ request, frames = [], model = "" }) {
  useStylesheet("styles/developer.css");
  const id = useId();
  const [kind, setKind] = useState("curl");
  const asked = request ?? hello(model);
  // A request that nobody has made has no events.
  const kinds = [...Object.keys(SAMPLES), ...(request ? ["events"] : [])];
  const onKeyDown = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const beside = (kinds.indexOf(kind) + by + kinds.length) % kinds.length;
    const to = { Home: 0, End: kinds.length - 1 }[event.key] ?? beside;
    if (Number.isNaN(to)) return;
    event.preventDefault();
    setKind(kinds[to]);
    document.getElementById(`${id}-${kinds[to]}`).focus();
  };
  return html`<div class="corner">
    <div class="corner-kinds" role="tablist" aria-label=${t("corner.kind")} onKeyDown=${onKeyDown}>
      ${kinds.map(
        (name) => html`<button
          key=${name}
          id=${`${id}-${name}`}
          type="button"
          role="tab"
          aria-selected=${name === kind ? "true" : "false"}
          aria-controls=${`${id}-shown`}
          tabindex=${name === kind ? 0 : -1}
          onClick=${() => setKind(name)}
        >
          ${t(`corner.${name}`)}
          ${name === "events" && frames.length > 0 && html` <span class="badge">${whole(frames.length)}</span>`}
        </button>`,
      )}
    </div>
    <div id=${`${id}-shown`} class="corner-shown" role="tabpanel" aria-labelledby=${`${id}-${kind}`}>
      ${kind === "events"
        ? html`<${Events} frames=${frames} />`
        : html`<${Sample} key=${kind} kind=${kind} request=${asked} />`}
    </div>
  </div>`;
}

function hello(model) {
  const messages = [{ role: "user", content: t("corner.hello") }];
  return { path: "/v1/chat/completions", body: { model, messages, stream: true } };
}

function Sample({ kind, request }) {
  const closed = !session.value.open;
  const about = { origin: location.origin, closed };
  const body = cut(request.body, MOST, leftOut);
  const isCut = JSON.stringify(body).length < JSON.stringify(request.body).length;
  const notes = [
    kind === "python" && t("corner.openai"),
    kind !== "json" && t(closed ? "corner.key" : "corner.no_key", { variable: VARIABLE }),
    isCut && t("corner.cut"),
  ];
  return html`<div class="corner-code">
      <pre tabindex="0" aria-label=${t(`corner.${kind}`)}>
        <code>${SAMPLES[kind]({ ...request, body }, about)}</code>
      </pre>
      <${CopyButton} label=${t("corner.copy")} text=${() => SAMPLES[kind](request, about)} />
    </div>
    <p class="faint">${notes.filter(Boolean).join(" ")}</p>`;
}

function Events({ frames }) {
  const [first, setFirst] = useState(0);
  if (!frames.length) return html`<p class="faint">${t("corner.no_events")}</p>`;
  const last = Math.min(first + SPAN, frames.length);
  return html`<div class="corner-bar">
      <${IconButton}
        icon="left"
        label=${t("corner.earlier")}
        disabled=${first === 0}
        onClick=${() => setFirst(Math.max(0, first - SPAN))}
      />
      <span role="status">
        ${t("corner.span", { from: whole(first + 1), to: whole(last), count: whole(frames.length) })}
      </span>
      <${IconButton}
        icon="right"
        label=${t("corner.later")}
        disabled=${last === frames.length}
        onClick=${() => setFirst(first + SPAN)}
      />
      <${CopyButton} label=${t("corner.copy")} text=${() => frames.join("\n")} />
    </div>
    <ol class="corner-events" start=${first + 1} tabindex="0" aria-label=${t("corner.events")}>
      ${frames
        .slice(first, last)
        .map((data, at) => html`<li key=${first + at}><code>${cut(data, MOST, leftOut)}</code></li>`)}
    </ol>`;
}

function leftOut(count) {
  return t("corner.left_out", { count: whole(count) });
}
