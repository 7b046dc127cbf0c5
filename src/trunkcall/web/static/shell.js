/** The frame around every page: navigation, account, theme, help, and whether the server is there. */
import { html, useEffect, useRef, useState } from "./lib/html.js";
import { connected } from "./lib/connection.js";
import { userName } from "./lib/key.js";
import { paletteOpen } from "./lib/palette.js";
import { focusNext } from "./lib/focus.js";
import { address, go, route } from "./lib/router.js";
import { mayOpen, session, signInAgain, signOut } from "./lib/session.js";
import { shortcut, shortcutsOpen } from "./lib/shortcuts.js";
import { t } from "./lib/strings.js";
import { stylesheetsComing } from "./lib/stylesheet.js";
import { theme, turnTheme } from "./lib/theme.js";
import { lookUpConversations, offerFrame } from "./frame_offers.js";
import { Button, IconButton } from "./components/button.js";
import { CommandPalette } from "./components/command_palette.js";
import { Dialog } from "./components/dialog.js";
import { Icon } from "./components/icon.js";
import { Keys } from "./components/keys.js";
import { ShortcutsHelp } from "./components/shortcuts_help.js";
import { SignInOver } from "./sign_in.js";

/** Those of pages whose icon has another name. */
const ICONS = { usage: "keys" };

/** So many pages have their place at the foot of a phone; the others are behind "More". */
const AT_HAND = 4;

/** page: the name of the one that is shown; children: it. */
export function Shell({ page, children }) {
  const main = useRef(null);
  const [more, setMore] = useState(false);
  useEffect(() => {
    const withdraw = [
      offerFrame(),
      shortcut({ keys: "Mod+k", label: t("shortcut.palette"), run: () => toggle(paletteOpen) }),
      shortcut({ keys: "/", label: t("shortcut.search"), run: () => toggle(paletteOpen) }),
      shortcut({ keys: "n", label: t("shortcut.new_chat"), run: () => mayOpen("chat") && go("chat", "new") }),
      shortcut({ keys: "?", label: t("shortcut.help"), run: () => toggle(shortcutsOpen) }),
    ];
    return () => withdraw.forEach((one) => one());
  }, []);
  useEffect(() => {
    // Without what is kept the palette offers the rest.
    if (paletteOpen.value && mayOpen("chat")) lookUpConversations().catch(() => {});
  }, [paletteOpen.value]);
  const first = useRef(true);
  useEffect(() => {
    // From the palette or a dialog to another page: on with what is in it.
    if (!first.current) focusNext(() => [main.current]);
    first.current = false;
  }, [route.value]);
  useEffect(() => {
    main.current.scrollTop = 0;
    setMore(false);
  }, [page]);
  const { pages, open } = session.value;
  return html`<a class="skip-link" href="#main" onClick=${(event) => skip(event, main.current)}>${t("skip")}</a>
    <div class="shell">
      <nav class="nav" aria-label=${t("navigation")}>
        <span class="brand">
          <img src="/web/images/icon.svg" alt="" width="28" height="28" /><span>Trunkcall</span>
        </span>
        <button
          type="button"
          class="nav-search"
          aria-label=${t("palette.open")}
          title=${t("palette.open")}
          onClick=${() => toggle(paletteOpen)}
        >
          <${Icon} name="search" size=${18} /><span>${t("palette.button")}</span><${Keys} keys="Mod+k" />
        </button>
        <ul>
          ${pages.map(
            (name, at) => html`<li key=${name} class=${at < AT_HAND || pages.length === AT_HAND + 1 ? "" : "seldom"}>
              <${PageLink} name=${name} page=${page} />
            </li>`,
          )}
          <li class="nav-more">
            <button
              type="button"
              class=${pages.indexOf(page) >= AT_HAND && pages.length > AT_HAND + 1 ? "here" : ""}
              aria-haspopup="dialog"
              onClick=${() => setMore(true)}
            ><${Icon} name="menu" /><span>${t("more")}</span></button>
          </li>
        </ul>
        <div class="nav-foot">
          <${Account} />
          <div class="nav-tools">
            <${IconButton} icon=${theme.value} label=${t(`theme.${theme.value}`)} onClick=${turnTheme} />
            <${IconButton} icon="help" label=${t("help")} onClick=${() => toggle(shortcutsOpen)} />
            ${!open && html`<${IconButton} icon="power" label=${t("sign_out")} onClick=${signOut} />`}
            <span class="version">${session.value.version}</span>
          </div>
        </div>
      </nav>
      <main id="main" ref=${main} tabindex="-1" class=${stylesheetsComing.value ? "coming" : ""}>
        <div class="notices" role="status">
          ${!connected.value && html`<p class="offline">${t("offline")}</p>`}
          <${NewVersion} />
        </div>
        ${children}
      </main>
    </div>
    ${more && html`<${More} page=${page} onClose=${() => setMore(false)} />`}
    ${paletteOpen.value && html`<${CommandPalette} onClose=${() => toggle(paletteOpen)} />`}
    ${shortcutsOpen.value && html`<${ShortcutsHelp} onClose=${() => toggle(shortcutsOpen)} />`}
    ${signInAgain.value && html`<${SignInOver} />`}`;
}

function PageLink({ name, page }) {
  return html`<a href=${address(name)} aria-current=${name === page ? "page" : undefined} title=${t(`page.${name}`)}>
    <${Icon} name=${ICONS[name] ?? name} /><span>${t(`page.${name}`)}</span>
  </a>`;
}

/** Who is signed in, or that nobody needs to be. */
function Account() {
  const { open, principal, role } = session.value;
  // Passwords stand for keys of the operator's, of which neither name nor role says anything to people.
  const user = userName();
  const name = user || principal || t("account.nameless");
  const said = open ? t("account.open") : user || `${name}, ${t(`role.${role}`)}`;
  return html`<p class="account" title=${said}>
    <${Icon} name="person" size=${18} />
    <span>${open ? said : html`<b>${name}</b>${!user && html`<br />${t(`role.${role}`)}`}`}</span>
  </p>`;
}

/** The server that came back is another version than the one that this page is of. */
function NewVersion() {
  const first = useRef(session.value.version);
  if (session.value.version === first.current) return null;
  return html`<p class="renewed">
    ${t("renewed", { version: session.value.version })}
    <${Button} onClick=${() => location.reload()}>${t("reload")}<//>
  </p>`;
}

/** What has no place at the foot of a phone. */
function More({ page, onClose }) {
  const first = (work) => () => {
    onClose();
    work();
  };
  return html`<${Dialog} title=${t("more")} onClose=${onClose}>
    <${Account} />
    <ul class="more-list">
      ${session.value.pages.map(
        (name) => html`<li key=${name} onClick=${onClose}><${PageLink} name=${name} page=${page} /></li>`,
      )}
      <${Act} icon="search" label=${t("palette.open")} run=${first(() => toggle(paletteOpen))} />
      <${Act} icon=${theme.value} label=${t(`theme.${theme.value}`)} run=${turnTheme} />
      <${Act} icon="help" label=${t("help")} run=${first(() => toggle(shortcutsOpen))} />
      ${!session.value.open && html`<${Act} icon="power" label=${t("sign_out")} run=${signOut} />`}
    </ul>
    <p class="version">${t("version", { version: session.value.version })}</p>
  <//>`;
}

function Act({ icon, label, run }) {
  return html`<li><button type="button" onClick=${run}><${Icon} name=${icon} />${label}</button></li>`;
}

function toggle(shown) {
  shown.value = !shown.value;
}

function skip(event, main) {
  event.preventDefault();
  main.focus();
}
