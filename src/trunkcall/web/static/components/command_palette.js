/** The command palette: everything that can be gone to or done, found by typing. */
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { offered, ranked } from "../lib/palette.js";
import { t } from "../lib/strings.js";
import { Icon } from "./icon.js";
import { Keys } from "./keys.js";

/** So many are shown; more letters find the others. */
const MOST = 60;

/** onClose: it was closed, before what was chosen is done. */
export function CommandPalette({ onClose }) {
  const dialog = useRef(null);
  const list = useRef(null);
  const id = useId();
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  // At once: what is typed behind the shortcut is meant for it.
  useLayoutEffect(() => {
    const element = dialog.current;
    element.showModal();
    return () => element.close();
  }, []);
  useEffect(() => {
    list.current.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [at, typed]);
  const found = ranked(offered(), typed).slice(0, MOST);
  const groups = Map.groupBy(found, (entry) => entry.group ?? "");
  const shown = [...groups.values()].flat();
  const current = Math.min(at, shown.length - 1);
  const choose = (entry) => {
    // Closed first: what follows may focus something of the page.
    onClose();
    setTimeout(entry.run, 0);
  };
  const onKeyDown = (event) => {
    const to = { ArrowDown: current + 1, ArrowUp: current - 1, PageDown: current + 8, PageUp: current - 8 }[event.key];
    if (event.isComposing) return;
    if (event.key === "Enter") {
      if (shown.length) choose(shown[current]);
    } else if (to === undefined || !shown.length) return;
    else if (event.key.startsWith("Page")) setAt(Math.max(0, Math.min(shown.length - 1, to)));
    else setAt((to + shown.length) % shown.length);
    event.preventDefault();
  };
  return html`<dialog
    ref=${dialog}
    class="dialog palette"
    aria-label=${t("palette.title")}
    onCancel=${(event) => {
      event.preventDefault();
      onClose();
    }}
    onMouseDown=${(event) => event.target === dialog.current && onClose()}
  >
    <div class="palette-head">
      <${Icon} name="search" />
      <input
        type="text"
        role="combobox"
        aria-label=${t("palette.label")}
        aria-expanded="true"
        aria-controls=${id}
        aria-activedescendant=${shown.length ? `${id}-${current}` : undefined}
        aria-autocomplete="list"
        autocomplete="off"
        autocapitalize="off"
        spellcheck="false"
        placeholder=${t("palette.placeholder")}
        value=${typed}
        onInput=${(event) => {
          setTyped(event.target.value);
          setAt(0);
        }}
        onKeyDown=${onKeyDown}
      />
      <${Keys} keys="Escape" />
    </div>
    <div ref=${list} id=${id} class="palette-list" role="listbox" aria-label=${t("palette.title")}>
      ${[...groups].map(
        ([group, entries]) => html`<div key=${group} role="group" aria-label=${group}>
          <div class="palette-group" role="presentation">${group}</div>
          ${entries.map((entry) => {
            const index = shown.indexOf(entry);
            return html`<div
              key=${entry.id}
              id=${`${id}-${index}`}
              role="option"
              aria-selected=${index === current ? "true" : "false"}
              class="palette-entry"
              onMouseMove=${() => index !== current && setAt(index)}
              onClick=${() => choose(entry)}
            >
              <span class="palette-label">${entry.label}</span>
              ${entry.hint && html`<span class="palette-hint">${entry.hint}</span>`}
              ${entry.keys && html`<${Keys} keys=${entry.keys} />`}
            </div>`;
          })}
        </div>`,
      )}
    </div>
    <p class=${shown.length ? "visually-hidden" : "palette-none"} role="status">
      ${shown.length ? t("palette.count", { count: shown.length }) : t("palette.none", { typed })}
    </p>
  </dialog>`;
}
