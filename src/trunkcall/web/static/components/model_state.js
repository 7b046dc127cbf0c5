/** How a model or one of its replicas does, as a small coloured word. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { portion } from "../lib/progress.js";

const KINDS = {
  ready: "good",
  loading: "warning",
  busy_elsewhere: "warning",
  draining: "warning",
  failed: "danger",
};

/** Administration's word for what the page calls loading. */
const NAMES = { starting: "loading" };

/**
 * state: as GET /web/api/models tells it, or a replica's of GET /admin/models; progress: how far it is, in the
 * server's words, of which the share is shown where they tell one.
 */
export function ModelState({ state, progress = "" }) {
  const name = NAMES[state] ?? state;
  const done = name === "loading" ? portion(progress) : null;
  return html`<span class=${`badge ${KINDS[name] ?? ""}`} title=${progress || t(`state.${name}.means`)}>
    ${name === "loading" && html`<span class="spinner small" aria-hidden="true" />`}
    ${t(`state.${name}`)}${done !== null && ` ${Math.floor(done * 100)} %`}
  </span>`;
}
