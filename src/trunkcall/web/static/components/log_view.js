/** What a model's replicas or the server itself write, as they write it: followed, held still, or copied. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { open } from "../lib/http.js";
import { readEvents } from "../lib/sse.js";
import { t } from "../lib/strings.js";
import { whileVisible } from "../lib/visible.js";
import { IconButton } from "./button.js";
import { CopyButton } from "./copy_button.js";

const LINES = 200;
const KEPT = 1000;
const PAUSE_MS = 1000;
/** Pixels from the end within which a reader is at the end. */
const NEAR = 24;

/** name: the model, empty for the server itself; several: lines say whose they are. */
export function LogView({ name, several, title = t("models.log") }) {
  const [shown, setShown] = useState([]);
  const [held, setHeld] = useState(false);
  const [ended, setEnded] = useState(false);
  const box = useRef(null);
  const state = useRef({ lines: [], held: false, atEnd: true, frame: 0 });
  const show = () => {
    state.current.frame = 0;
    setShown([...state.current.lines]);
  };
  useEffect(() => {
    const kept = state.current;
    const take = (line) => {
      if (line === null) kept.lines = [];
      else kept.lines.push(several ? `${line.replica.slice(name.length + 1)}  ${line.line}` : line.line);
      if (kept.lines.length > KEPT) kept.lines.splice(0, kept.lines.length - KEPT);
      if (!kept.held) kept.frame ||= requestAnimationFrame(show);
    };
    const stop = whileVisible(() => {
      const abort = new AbortController();
      follow(name, abort.signal, setEnded, take);
      return () => abort.abort();
    });
    return () => {
      stop();
      cancelAnimationFrame(kept.frame);
    };
  }, [name, several]);
  useEffect(() => {
    if (state.current.atEnd && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown]);
  const hold = () => {
    state.current.held = !held;
    setHeld(!held);
    if (held) {
      state.current.atEnd = true;
      show();
    }
  };
  return html`<section class="log" aria-labelledby="log-title">
    <div class="list-head">
      <h2 id="log-title">${title}</h2>
      <span class="faint">${t(`models.log.${ended ? "ended" : held ? "held" : "live"}`)}</span>
      <${IconButton}
        icon=${held ? "play" : "pause"}
        label=${t(held ? "models.log.go_on" : "models.log.hold")}
        pressed=${held}
        onClick=${hold}
      />
      <${CopyButton} text=${() => state.current.lines.join("\n")} label=${t("models.log.copy")} />
    </div>
    <pre
      ref=${box}
      tabindex="0"
      role="log"
      aria-live="off"
      aria-label=${t("models.log.lines")}
      onScroll=${(event) => {
        const { scrollTop, scrollHeight, clientHeight } = event.target;
        state.current.atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
      }}
    >${shown.length ? shown.join("\n") : html`<span class="faint">${t("models.log.none")}</span>`}</pre>
  </section>`;
}

/** Read the log until the signal aborts: take gets each line, and null before those of a new reading. */
async function follow(name, signal, setEnded, take) {
  while (!signal.aborted) {
    try {
      const path = `/admin/logs${name && `/${encodeURIComponent(name)}`}?lines=${LINES}&follow=true`;
      const response = await open(path, { signal });
      setEnded(false);
      take(null);
      for await (const { data } of readEvents(response)) if (data) take(JSON.parse(data));
    } catch {
      // The page says when the server is away; a model may come back.
    }
    if (signal.aborted) return;
    setEnded(true);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
