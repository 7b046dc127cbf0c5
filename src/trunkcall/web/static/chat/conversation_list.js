/** The conversations of this browser by day: opened, searched, renamed, deleted, taken along and brought in. */
import { html, signal, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { address, go } from "../lib/router.js";
import { lasting } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Menu } from "../components/menu.js";
import { Waiting } from "../components/notes.js";
import { current, headings, isAnswering, loadHeadings, remove, rename, search } from "./conversations.js";
import { bringFile, takeAlong } from "./transfer.js";

const PAUSE_MS = 200;

/** What is searched for; it outlasts leaving the page. */
export const searched = signal("");

/** onLeave: something was chosen, for a list that lies over the page. */
export function ConversationList({ onLeave = () => {} }) {
  const [found, setFound] = useState(null);
  const [renaming, setRenaming] = useState("");
  const file = useRef(null);
  const id = useId();
  useEffect(() => {
    if (headings.value === null) loadHeadings();
  }, []);
  useEffect(() => {
    if (!searched.value.trim()) {
      setFound(null);
      return undefined;
    }
    const timer = setTimeout(async () => setFound(await search(searched.value)), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [searched.value, headings.value]);
  const listed = (headings.value ?? []).filter((one) => found === null || found.has(one.id));
  const days = useMemo(() => byDay(listed, Date.now()), [headings.value, found]);
  const nothing = !headings.value?.length;
  return html`<div class="list">
    <div class="list-head">
      <${Button} icon="plus" kind="primary" onClick=${() => (go("chat", "new"), onLeave())}>${t("list.new")}<//>
      <${Menu}
        label=${t("list.menu")}
        items=${[
          { icon: "upload", label: t("list.import"), run: () => file.current.click() },
          { icon: "download", label: t("list.export_json"), run: () => takeAlong("json"), disabled: nothing },
          {
            icon: "download",
            label: t("list.export_markdown"),
            run: () => takeAlong("markdown"),
            disabled: nothing,
          },
        ]}
      />
      <input
        ref=${file}
        type="file"
        hidden
        accept=".json,.md,application/json,text/markdown"
        onChange=${(event) => {
          bringFile(event.target.files[0]);
          event.target.value = "";
        }}
      />
    </div>
    <label class="visually-hidden" for=${id}>${t("list.search")}</label>
    <input
      id=${id}
      type="search"
      placeholder=${t("list.search")}
      value=${searched.value}
      onInput=${(event) => {
        searched.value = event.target.value;
      }}
    />
    ${!lasting.value && html`<p class="list-note">${t("list.not_lasting")}</p>`}
    ${headings.value === null && html`<${Waiting} />`}
    <nav class="list-days" aria-label=${t("list.label")}>
      ${days.map(
        ({ name, headings: of }) => html`<section key=${name}>
          <h2>${name}</h2>
          <ul>
            ${of.map((heading) =>
              heading.id === renaming
                ? html`<${Renaming} key=${heading.id} heading=${heading} onDone=${() => setRenaming("")} />`
                : html`<${Heading}
                    key=${heading.id}
                    heading=${heading}
                    onLeave=${onLeave}
                    onRename=${() => setRenaming(heading.id)}
                  />`,
            )}
          </ul>
        </section>`,
      )}
    </nav>
    ${headings.value?.length === 0 && html`<p class="list-empty">${t("list.empty")}</p>`}
    ${found !== null &&
    !listed.length &&
    !nothing &&
    html`<p class="list-empty" role="status">${t("list.nothing")}</p>`}
  </div>`;
}

function Heading({ heading, onLeave, onRename }) {
  const { id, title } = heading;
  const name = title || t("chat.untitled");
  return html`<li class="list-item">
    <a
      href=${address("chat", id)}
      aria-current=${current.value?.id === id ? "true" : undefined}
      title=${name}
      onClick=${onLeave}
    >
      <span>${name}</span>
      ${isAnswering(id) && html`<span class="spinner" role="img" aria-label=${t("answer.streaming")} />`}
    </a>
    <${Menu}
      label=${t("list.item_menu", { title: name })}
      items=${[
        { icon: "edit", label: t("list.rename"), run: onRename },
        { icon: "download", label: t("list.one_json"), run: () => takeAlong("json", id) },
        { icon: "download", label: t("list.one_markdown"), run: () => takeAlong("markdown", id) },
        // Over a list that lies over the page its undoing could not be reached.
        { icon: "trash", label: t("delete"), run: () => (remove(id), onLeave()) },
      ]}
    />
  </li>`;
}

function Renaming({ heading, onDone }) {
  const field = useRef(null);
  const over = useRef(false);
  useLayoutEffect(() => {
    field.current.focus();
    field.current.select();
  }, []);
  // Leaving the field is done too when it goes away because of a key.
  const done = (title) => {
    if (over.current) return;
    over.current = true;
    if (title && title !== heading.title) rename(heading.id, title);
    onDone();
  };
  return html`<li class="list-item">
    <input
      ref=${field}
      type="text"
      aria-label=${t("list.rename")}
      defaultValue=${heading.title}
      maxlength="200"
      onBlur=${(event) => done(event.target.value.trim())}
      onKeyDown=${(event) => {
        if (event.key === "Enter") done(event.target.value.trim());
        if (event.key !== "Escape") return;
        // It is for this field, not for the answer that comes.
        event.preventDefault();
        done("");
      }}
    />
  </li>`;
}

const DAY_MS = 86_400_000;

/** In groups of a day each, in the order given. now: the moment in ms. */
function byDay(all, now) {
  const groups = new Map();
  for (const heading of all) {
    const name = dayName(heading.changed, now);
    if (groups.has(name)) groups.get(name).push(heading);
    else groups.set(name, [heading]);
  }
  return [...groups].map(([name, of]) => ({ name, headings: of }));
}

function dayName(at, now) {
  const day = new Date(at).toDateString();
  if (day === new Date(now).toDateString()) return t("day.today");
  if (day === new Date(now - DAY_MS).toDateString()) return t("day.yesterday");
  return new Date(at).toLocaleDateString("en", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
}
