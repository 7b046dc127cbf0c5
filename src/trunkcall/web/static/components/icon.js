/** Line icons, drawn here so that no picture has to be fetched. */
import { html } from "../lib/html.js";

const PATHS = {
  chat: "M4 5h16v11H9l-5 4z",
  compare: "M4 5h6v14H4zM14 5h6v14h-6z",
  battle: "M5 19 17 7M14 4h6v6M19 19 7 7M4 10V4h6",
  models: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  operate: "M3 12h4l3-8 4 16 3-8h4",
  keys: "M8 12a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 13L20 4M16 8l3 3M13.5 10.5l2 2",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 13l4 4L19 7",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  stop: "M7 7h10v10H7z",
  send: "M5 12h14M13 6l6 6-6 6",
  again: "M4 12a8 8 0 1 1 2.3 5.6M4 18v-5h5",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  image: "M4 5h16v14H4zM8 10a1.5 1.5 0 1 0 0-.1M5 18l5-5 3 3 3-3 4 4",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  menu: "M4 7h16M4 12h16M4 17h16",
  down: "M6 9l6 6 6-6",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5M12 8h.01",
  help: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M12 16.5h.01",
  light:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4 12H2M22 12h-2" +
    "M5 5l1.5 1.5M17.5 17.5L19 19M5 19l1.5-1.5M17.5 6.5L19 5",
  dark: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  link: "M10 14l4-4M8 12l-2 2a3.5 3.5 0 0 0 5 5l2-2M16 12l2-2a3.5 3.5 0 0 0-5-5l-2 2",
  upvote: "M7 11v9H4v-9zM7 12l4-8c1.5 0 2.5 1 2.5 2.5V10H19l-1.5 10H7",
  downvote: "M7 13V4H4v9zM7 12l4 8c1.5 0 2.5-1 2.5-2.5V14H19L17.5 4H7",
  flag: "M6 21V4h12l-2 4 2 4H6",
  pause: "M8 6v12M16 6v12",
  play: "M7 5l12 7-12 7z",
  power: "M12 4v8M7 6.5a8 8 0 1 0 10 0",
  person: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM5 20c1-4 4-5 7-5s6 1 7 5",
};

/** An icon by its name; decorative, as what it stands on says what it does. size in pixels. */
export function Icon({ name, size = 20 }) {
  return html`<svg
    class="icon"
    viewBox="0 0 24 24"
    width=${size}
    height=${size}
    fill="none"
    stroke="currentColor"
    stroke-width="1.8"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
    focusable="false"
  ><path d=${PATHS[name]} /></svg>`;
}
