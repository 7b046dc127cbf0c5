/** The page of a user: what their own key may do, what they have used and what remains. */
import { html, useEffect, useState } from "../lib/html.js";
import { moment } from "../lib/format.js";
import { connected, returns } from "../lib/connection.js";
import { getJson } from "../lib/http.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { EmptyState, ErrorNote, Waiting } from "../components/notes.js";
import { LimitBars } from "./limit_bars.js";
import { conditionOf } from "./limits.js";

const EVERY_MS = 5000;

/** Shows GET /web/api/usage. */
export default function UsagePage() {
  useStylesheet("styles/keys.css");
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  const back = returns.value;
  const look = async () => {
    try {
      setTold(await getJson("/web/api/usage"));
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  };
  useEffect(() => {
    look();
    const timer = setInterval(() => document.visibilityState === "visible" && connected.value && look(), EVERY_MS);
    return () => clearInterval(timer);
  }, [back]);
  return html`<div class="page keys-page">
    <header class="page-head"><h1>${t("page.usage")}</h1></header>
    ${error && !error.isOffline && html`<${ErrorNote} error=${error} onRetry=${look} />`}
    ${told === null && !error && html`<${Waiting} />`}
    ${told !== null &&
    (told.key === null
      ? html`<${EmptyState} icon="keys" title=${t("usage.none")}><p>${t("usage.none.say")}</p><//>`
      : html`<${Own} view=${told.key} />`)}
  </div>`;
}

function Own({ view }) {
  const { entry } = view;
  const found = conditionOf(view, Date.now() / 1000);
  return html`<section class="card own-use" aria-labelledby="own-title">
    <div class="key-head"><h2 id="own-title">${entry.name}</h2></div>
    ${found === "used_up" && html`<p class="own-note" role="status">${t("usage.used_up")}</p>`}
    ${found === "expires_soon" &&
    html`<p class="own-note" role="status">
      ${t("keys.expires", { moment: moment(entry.expires_at) })}. ${t("usage.expires")}
    </p>`}
    <p class="key-models">
      ${entry.models.length === 0
        ? t("keys.all_models")
        : entry.models.map((name) => html`<code key=${name}>${name}</code> `)}
    </p>
    <${LimitBars} view=${view} remains />
    ${entry.expires_at !== null &&
    found !== "expires_soon" &&
    html`<p class="key-dates faint">${t("keys.expires", { moment: moment(entry.expires_at) })}</p>`}
  </section>`;
}
