/** What a page says when it has nothing to show, waits, or has failed: and what to do next. */
import { duration } from "../lib/format.js";
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** Nothing is here yet; children: what to do next. */
export function EmptyState({ icon, title, children }) {
  return html`<div class="empty-state">
    <${Icon} name=${icon} size=${40} />
    <h2>${title}</h2>
    <div>${children}</div>
  </div>`;
}

/** An ApiError in the page; onRetry: shows a button. */
export function ErrorNote({ error, onRetry }) {
  return html`<div class="error-note" role="alert">
    <${Icon} name="warning" size=${18} />
    <div>
      <p>${error.message}</p>
      ${error.retryAfter &&
      html`<p class="faint">${t("error.retry_after", { time: duration(1000 * error.retryAfter) })}</p>`}
      ${error.requestId && html`<p class="faint">${t("error.request", { id: error.requestId })}</p>`}
    </div>
    ${onRetry && html`<${Button} icon="again" onClick=${onRetry}>${t("retry")}<//>`}
  </div>`;
}

/** Something is on its way. */
export function Waiting({ children }) {
  return html`<div class="waiting" role="status">
    <span class="spinner" aria-hidden="true" />${children ?? t("loading")}
  </div>`;
}
