/** What happened to models since the page was opened, as it happens. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { news } from "./watched.js";

const SHOWN = 12;

/** model: only of this one; a replica's id begins with its model's name. */
export function NewsList({ model = "" }) {
  const shown = news.value
    .filter((one) => !model || one.name === model || one.name.startsWith(`${model}/`))
    .slice(0, SHOWN);
  return html`<section class="news" aria-labelledby="news-title">
    <h2 id="news-title">${t("models.news")}</h2>
    ${shown.length === 0 && html`<p class="faint">${t("models.news.none")}</p>`}
    <ol aria-live="polite" aria-labelledby="news-title">
      ${shown.map(
        (one) => html`<li key=${one.id}>
          <time class="faint" datetime=${one.at.toISOString()}>${one.at.toLocaleTimeString()}</time>
          <span>
            <strong>${one.name}</strong> ${words(one)}<span class="faint">${one.why && `: ${one.why}`}</span>
          </span>
        </li>`,
      )}
    </ol>
  </section>`;
}

function words({ kind, what }) {
  if (kind !== "replica") return t(`models.news.${what}`);
  return t(`state.${what === "starting" ? "loading" : what}`);
}
