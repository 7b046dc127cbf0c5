/** What most do not need, folded until it is opened or has something to say. */
import { html, useEffect, useState } from "../lib/html.js";

/** needed: it opens by itself, and stays open until its reader folds it. */
export function Fold({ summary, needed = false, children }) {
  const [open, setOpen] = useState(needed);
  useEffect(() => {
    if (needed) setOpen(true);
  }, [needed]);
  return html`<details class="more" open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>${summary}</summary>
    ${children}
  </details>`;
}
