/** The last requests and how each of them did: live, filtered, held still while somebody reads. */
import { html, useEffect, useId, useState } from "../lib/html.js";
import { duration, short, whole } from "../lib/format.js";
import { getJson } from "../lib/http.js";
import { memo } from "../lib/memo.js";
import { address, go } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { Button, IconButton } from "../components/button.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { status } from "./observed.js";
import { failure, fetchingOlder, filter, held, missed, more, older, refresh, stories, waiting } from "./stories.js";
import { modelName, outcome } from "./story.js";

const KINDS = [
  "bad_request", "unsupported", "unauthenticated", "forbidden", "no_model", "no_route", "conflict", "too_long",
  "too_large", "rate_limited", "quota", "overloaded", "no_capacity", "loading", "unreachable", "upstream_error",
  "upstream_timeout", "cancelled", "deadline", "draining", "out_of_memory", "bug",
]; // prettier-ignore

/** All of it. */
export function RequestList() {
  const shown = stories.value;
  const isFiltered = Object.values(filter.value).some(Boolean);
  return html`<section class="requests" aria-labelledby="requests-title">
    <div class="list-head">
      <h2 id="requests-title">${t("operate.requests")}</h2>
      <span class="faint" role="status">
        ${held.value
          ? waiting.value
            ? t("operate.held_more", { count: waiting.value })
            : t("operate.held")
          : t("operate.live")}
      </span>
      <${IconButton}
        icon=${held.value ? "play" : "pause"}
        label=${t(held.value ? "operate.go_on" : "operate.hold")}
        pressed=${held.value}
        onClick=${() => {
          held.value = !held.value;
        }}
      />
    </div>
    <${Filters} />
    ${missed.value > 0 &&
    html`<p class="faint">${t("operate.missed", { count: missed.value, whole: whole(missed.value) })}</p>`}
    ${failure.value && !failure.value.isOffline && html`<${ErrorNote} error=${failure.value} onRetry=${refresh} />`}
    ${shown === null
      ? !failure.value && html`<${Waiting} />`
      : shown.length === 0
        ? html`<p class="nothing faint">${t(isFiltered ? "operate.none_fit" : "operate.no_requests")}</p>`
        : html`<${Table} shown=${shown} />`}
    ${shown !== null &&
    shown.length > 0 &&
    (more.value
      ? html`<${Button} disabled=${fetchingOlder.value} onClick=${older}>
          ${t(fetchingOlder.value ? "loading" : "operate.older")}
        <//>`
      : html`<p class="faint">${t("operate.no_older")}</p>`)}
  </section>`;
}

function Table({ shown }) {
  return html`<div class="table-frame" tabindex="0" role="group" aria-labelledby="requests-title">
    <table class="request-table">
      <thead>
        <tr>
          <th scope="col">${t("operate.time")}</th>
          <th scope="col">${t("operate.model")}</th>
          <th scope="col" class="roomy">${t("operate.key")}</th>
          <th scope="col">${t("operate.outcome")}</th>
          <th scope="col" class="number roomy">${t("operate.queue")}</th>
          <th scope="col" class="number roomy">${t("operate.first")}</th>
          <th scope="col" class="number">${t("operate.total")}</th>
          <th scope="col" class="number roomy">${t("operate.tokens")}</th>
          <th scope="col" class="roomy">${t("operate.notes")}</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map((story) => html`<${Row} key=${story.id} story=${story} />`)}
      </tbody>
    </table>
  </div>`;
}

const Row = memo(({ story }) => {
  const { word, kind } = outcome(story);
  const open = (event) => {
    // Links do what the browser does with them, and marking text is no click.
    if (event.target.closest("a") || String(getSelection())) return;
    go("operate", story.id);
  };
  return html`<tr class="request-row" onClick=${open}>
    <td class="when">
      <a href=${address("operate", story.id)} title=${story.id}>
        ${clock(story.opened_at)}<span class="visually-hidden">${` ${story.id}`}</span>
      </a>
    </td>
    <td class="wordy">${modelName(story)}</td>
    <td class="wordy roomy">${story.key || "–"}</td>
    <td><span class=${`badge ${kind}`}>${word}</span></td>
    <td class="number roomy">${duration(story.queue_ms)}</td>
    <td class="number roomy">${duration(story.first_token_ms)}</td>
    <td class="number">${duration(story.total_ms)}</td>
    <td class="number roomy">${short(story.prompt_tokens)}+${short(story.completion_tokens)}</td>
    <td class="notes faint roomy" title=${notes(story)}>${notes(story)}</td>
  </tr>`;
});

/** What was not as usual, and why it got its replica. */
function notes(story) {
  return [
    story.attempts > 1 && t("operate.note.retried", { count: story.attempts - 1 }),
    story.resumes > 0 && t("operate.note.resumed", { count: story.resumes }),
    story.dropped.length > 0 && t("operate.note.dropped", { names: story.dropped.join(", ") }),
    story.why,
  ]
    .filter(Boolean)
    .join("; ");
}

/** A time of the last day as such, an older one with its date. */
function clock(at) {
  const date = new Date(at * 1000);
  return Date.now() - date < 86_400_000
    ? date.toLocaleTimeString(undefined, { hourCycle: "h23" })
    : date.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
}

function Filters() {
  const [keys, setKeys] = useState([]);
  useEffect(() => {
    getJson("/admin/keys").then(
      (told) => setKeys(told.keys.map((one) => one.entry.name)),
      // Names that appear in the list can still be chosen.
      () => {},
    );
  }, []);
  const { model, key, error } = filter.value;
  const seen = stories.value ?? [];
  const models = sorted([
    model,
    ...(status.value?.models.map((one) => one.name) ?? []),
    ...seen.map((one) => one.model),
  ]);
  const callers = sorted([key, ...keys, ...seen.map((one) => one.key)]);
  const set = (name, value) => {
    filter.value = { ...filter.value, [name]: value };
  };
  const find = (event) => {
    event.preventDefault();
    const id = new FormData(event.target).get("id").trim();
    if (id) go("operate", id);
  };
  return html`<div class="filters">
    <${Choice}
      label=${t("operate.model")}
      value=${model}
      none=${t("operate.all_models")}
      words=${models}
      onSet=${(value) => set("model", value)}
    />
    <${Choice}
      label=${t("operate.key")}
      value=${key}
      none=${t("operate.all_keys")}
      words=${callers}
      onSet=${(value) => set("key", value)}
    />
    <${Choice}
      label=${t("operate.error")}
      value=${error}
      none=${t("operate.all_outcomes")}
      words=${["any", ...KINDS]}
      name=${(word) => (word === "any" ? t("operate.any_error") : word)}
      onSet=${(value) => set("error", value)}
    />
    ${(model || key || error) &&
    html`<${Button} icon="close" kind="quiet" onClick=${() => (filter.value = { model: "", key: "", error: "" })}>
      ${t("operate.no_filter")}
    <//>`}
    <form class="find" role="search" onSubmit=${find}>
      <label class="visually-hidden" for="find-request">${t("operate.find")}</label>
      <input
        id="find-request"
        name="id"
        type="search"
        placeholder=${t("operate.find")}
        autocomplete="off"
        spellcheck="false"
      />
      <${IconButton} type="submit" kind="plain" icon="search" size=${18} label=${t("operate.find.do")} />
    </form>
  </div>`;
}

function Choice({ label, value, none, words, name = (word) => word, onSet }) {
  const id = useId();
  return html`<div class="choice">
    <label class="visually-hidden" for=${id}>${label}</label>
    <select id=${id} onChange=${(event) => onSet(event.target.value)}>
      <option value="" selected=${!value}>${none}</option>
      ${words.map((word) => html`<option key=${word} value=${word} selected=${word === value}>${name(word)}</option>`)}
    </select>
  </div>`;
}

function sorted(names) {
  return [...new Set(names.filter(Boolean))].sort((a, b) => a.localeCompare(b));
}
