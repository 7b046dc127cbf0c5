/** A button with a list of things to do. */
import { html, useLayoutEffect, useRef } from "../lib/html.js";
import { IconButton } from "./button.js";
import { Icon } from "./icon.js";
import { Popup } from "./popup.js";

/** label: what the menu is of; items: [{icon, label, run, disabled}]. */
export function Menu({ label, items, icon = "more", size = 18 }) {
  return html`<${Popup}
    role="menu"
    label=${label}
    class="menu"
    atEnd
    button=${(at) => html`<${IconButton} icon=${icon} size=${size} label=${label} ...${at} />`}
  >
    ${(close) => html`<${Items} items=${items} close=${close} />`}
  <//>`;
}

function Items({ items, close }) {
  const list = useRef(null);
  const buttons = () => [...list.current.querySelectorAll("button:not(:disabled)")];
  useLayoutEffect(() => buttons()[0]?.focus(), []);
  const onKeyDown = (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Tab") close();
    if (to === undefined) return;
    event.preventDefault();
    all.at(to % all.length)?.focus();
  };
  return html`<div ref=${list} role="presentation" onKeyDown=${onKeyDown}>
    ${items.map(
      (item) => html`<button
        key=${item.label}
        type="button"
        role="menuitem"
        class="menu-item"
        tabindex="-1"
        disabled=${item.disabled}
        onClick=${() => {
          close();
          item.run();
        }}
      ><${Icon} name=${item.icon} size=${18} /><span>${item.label}</span></button>`,
    )}
  </div>`;
}
