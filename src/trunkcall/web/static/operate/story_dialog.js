/** The whole story of one request: its times, where it went and why, what it used, and what to do about its error. */
import { html, useEffect, useState } from "../lib/html.js";
import { duration, money, whole } from "../lib/format.js";
import { getJson } from "../lib/http.js";
import { address } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { CopyButton } from "../components/copy_button.js";
import { Dialog } from "../components/dialog.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { modelName, outcome, parts, speed } from "./story.js";

const AGAIN_MS = 1000;
const MEDIUM = { dateStyle: "medium", timeStyle: "medium" };

/** id: of the request; onClose: it was closed. */
export function StoryDialog({ id, onClose }) {
  const [story, setStory] = useState(null);
  const [error, setError] = useState(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        const found = await getJson(`/admin/requests/${encodeURIComponent(id)}`, { signal: abort.signal });
        setStory(found);
        setError(null);
        if (found.state !== "ended") timer = setTimeout(look, AGAIN_MS);
      } catch (failure) {
        if (!abort.signal.aborted) setError(failure);
      }
    };
    look();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [id, tries]);
  return html`<${Dialog} title=${t("operate.story")} wide onClose=${onClose}>
    <p class="story-id"><code>${id}</code><${CopyButton} text=${id} label=${t("operate.copy_id")} /></p>
    ${error && html`<${ErrorNote} error=${error} onRetry=${() => setTries(tries + 1)} />`}
    ${story ? html`<${Story} story=${story} />` : !error && html`<${Waiting} />`}
  <//>`;
}

function Story({ story }) {
  const { word, kind } = outcome(story);
  const perSecond = speed(story);
  const cached = story.cached_tokens;
  return html`<div class="story">
    <p class="story-outcome">
      <span class=${`badge ${kind}`}>${word}</span>
      <span>${modelName(story)}</span>
      <span class="faint">${new Date(story.opened_at * 1000).toLocaleString(undefined, MEDIUM)}</span>
    </p>
    ${story.error &&
    html`<p class="story-next"><strong>${t("operate.what_next")}</strong> ${t(`operate.next.${story.error}`)}</p>`}
    <${Times} story=${story} />
    <dl class="story-facts">
      <${Fact} name="model">${story.model && html`<a href=${address("models", story.model)}>${story.model}</a>`}<//>
      <${Fact} name="asked">${story.asked}<//>
      <${Fact} name="key">${story.key}<//>
      <${Fact} name="protocol">
        ${story.protocol && `${story.protocol}, ${t(story.stream ? "operate.streamed" : "operate.in_one_piece")}`}
      <//>
      <${Fact} name="replica">${story.replica}<//>
      <${Fact} name="why">${story.why}<//>
      <${Fact} name="attempts">${story.attempts > 0 && whole(story.attempts)}<//>
      <${Fact} name="resumes">
        ${story.resumes > 0 && `${whole(story.resumes)}${story.resumed && ` (${story.resumed})`}`}
      <//>
      <${Fact} name="dropped">${story.dropped.join(", ")}<//>
      <${Fact} name="prompt_tokens">
        ${whole(story.prompt_tokens)}${cached > 0 && `, ${t("operate.of_it_cached", { count: whole(cached) })}`}
      <//>
      <${Fact} name="completion_tokens">
        ${whole(story.completion_tokens)}
        ${perSecond !== null && `, ${t("operate.speed", { speed: perSecond.toFixed(1) })}`}
        ${story.estimated && story.completion_tokens > 0 && ` (${t("operate.estimated")})`}
      <//>
      <${Fact} name="cost">${story.cost > 0 && money(story.cost)}<//>
      <${Fact} name="finish">${story.finish}<//>
      <${Fact} name="error">${story.error}<//>
      <${Fact} name="status">${story.status > 0 && String(story.status)}<//>
    </dl>
  </div>`;
}

/** A time of which also parts of a millisecond are told. */
function exact(ms) {
  return ms < 10 ? `${Number(ms.toPrecision(2))} ms` : duration(ms);
}

/** Nothing is said of what a request has not. */
function Fact({ name, children }) {
  const said = [children].flat().some((child) => child || child === 0);
  return said && html`<div><dt>${t(`operate.fact.${name}`)}</dt><dd>${children}</dd></div>`;
}

function Times({ story }) {
  const total = story.total_ms ?? 0;
  const found = parts(story);
  return html`<div class="times">
    <div class="times-bar" aria-hidden="true">
      ${found.map(
        ({ name, ms }) =>
          html`<span key=${name} class=${`times-${name}`} style=${{ flexGrow: total > 0 ? ms / total : 0 }} />`,
      )}
    </div>
    <dl class="times-facts">
      ${found.map(
        ({ name, ms }) =>
          html`<div key=${name}>
            <dt><i class=${`times-${name}`} aria-hidden="true" />${t(`operate.part.${name}`)}</dt>
            <dd>${exact(ms)}</dd>
          </div>`,
      )}
      <div>
        <dt>${t("operate.total")}</dt>
        <dd>${exact(total)}${story.state !== "ended" && ` ${t("operate.so_far")}`}</dd>
      </div>
    </dl>
  </div>`;
}
