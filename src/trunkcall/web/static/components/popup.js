/** Something that opens over the page at its button, and closes by Escape or a click elsewhere. */
import { focusNext } from "../lib/focus.js";
import { html, useId, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { useStylesheet } from "../lib/stylesheet.js";

const GAP = 4;
const EDGE = 8;

/**
 * button(attributes): the button that opens it, which takes the attributes; children(close): what is in it, made anew
 * whenever it opens; role, label: for screen readers; atEnd: its right edge stands under the button's.
 */
export function Popup({ button, role = "dialog", label, atEnd = false, class: more = "", children }) {
  useStylesheet("styles/asking.css");
  const [open, setOpen] = useState(false);
  const id = useId();
  const box = useRef(null);
  const close = () => box.current?.hidePopover();
  const onToggle = (event) => {
    if (event.target === box.current && event.newState === "closed") {
      focusNext(() => [box.current && buttonOf(box.current)]);
    }
  };
  useLayoutEffect(() => {
    if (!open) return undefined;
    const move = () => place(box.current, atEnd);
    move();
    // It may have no size before it is shown, which it is when the next frame is drawn.
    const frame = requestAnimationFrame(move);
    addEventListener("resize", move);
    addEventListener("scroll", move, true);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("resize", move);
      removeEventListener("scroll", move, true);
    };
  }, [open]);
  return html`${button({ popovertarget: id, "aria-haspopup": role, "aria-expanded": open ? "true" : "false" })}
    <div
      ref=${box}
      id=${id}
      popover="auto"
      class=${`popup ${more}`}
      role=${role}
      aria-label=${label}
      onToggle=${onToggle}
      onBeforeToggle=${(event) => event.target === box.current && setOpen(event.newState === "open")}
    >
      ${open && children(close)}
    </div>`;
}

const buttonOf = (box) => document.querySelector(`[popovertarget="${box.id}"]`);

/** Under its button or, where more room is, over it; always inside of the window. */
function place(box, atEnd) {
  const anchor = buttonOf(box).getBoundingClientRect();
  const wide = document.documentElement.clientWidth;
  const high = innerHeight;
  const below = high - anchor.bottom - GAP - EDGE;
  const above = anchor.top - GAP - EDGE;
  box.style.minWidth = `${Math.min(anchor.width, wide - 2 * EDGE)}px`;
  box.style.maxHeight = "none";
  // As wide as it would be with all of the window to its right.
  box.style.left = "0";
  const needed = box.scrollHeight;
  const under = needed <= below || below >= above;
  box.style.maxHeight = `${Math.max(120, under ? below : above)}px`;
  const width = box.offsetWidth;
  const left = atEnd ? anchor.right - width : anchor.left;
  box.style.left = `${Math.max(EDGE, Math.min(left, wide - width - EDGE))}px`;
  box.style.top = under ? `${anchor.bottom + GAP}px` : "auto";
  box.style.bottom = under ? "auto" : `${high - anchor.top + GAP}px`;
}
