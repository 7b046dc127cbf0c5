/** All keys as cards, found by name, and the ways to make, change, disable and revoke them. */
import { html, useEffect, useState } from "../lib/html.js";
import { offer } from "../lib/palette.js";
import { session, signIn } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { AskDialog } from "../components/ask_dialog.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { EmptyState, ErrorNote, Waiting } from "../components/notes.js";
import { notify } from "../components/toast.js";
import { KeyCard } from "./key_card.js";
import { KeyDialog } from "./key_dialog.js";
import { change, create, failure, keys, refresh, revoke, useKeys } from "./known_keys.js";
import { given } from "./key_form.js";
import { SecretDialog } from "./secret_dialog.js";

const SHOWN = 60;
/** So many are seen at one look. */
const FEW = 8;

/** What is open over the list: null, or {kind: "new" | "edit" | "revoke" | "secret", view, name, secret}. */
export function KeyList() {
  useKeys();
  const [over, setOver] = useState(null);
  const [typed, setTyped] = useState("");
  const [most, setMost] = useState(SHOWN);
  useEffect(
    () => offer({ id: "keys.new", label: t("keys.new"), group: t("page.keys"), run: () => setOver({ kind: "new" }) }),
    [],
  );
  const close = () => setOver(null);
  const all = keys.value;
  const found = all?.filter((view) => fits(view, typed)) ?? [];
  const add = html`<${Button}
    icon="plus"
    kind="primary"
    aria-haspopup="dialog"
    onClick=${() => setOver({ kind: "new" })}
  >${t("keys.new")}<//>`;
  return html`
    ${failure.value && !failure.value.isOffline && html`<${ErrorNote} error=${failure.value} onRetry=${refresh} />`}
    ${all === null && !failure.value && html`<${Waiting} />`}
    ${all?.length === 0 &&
    html`<${EmptyState} icon="keys" title=${t("keys.empty")}>
      <p>${t("keys.empty.say")}</p>
      ${add}
    <//>`}
    ${all?.length > 0 &&
    html`<section aria-labelledby="keys-title">
      <div class="list-head">
        <h2 id="keys-title">${t("keys.count", { count: all.length })}</h2>
        ${all.length > FEW &&
        html`<label class="key-search">
          <${Icon} name="search" size=${18} />
          <span class="visually-hidden">${t("keys.search")}</span>
          <input
            type="search"
            placeholder=${t("keys.search")}
            value=${typed}
            onInput=${(event) => setTyped(event.target.value)}
          />
        </label>`}
        ${add}
      </div>
      ${found.length === 0 && html`<p class="faint" role="status">${t("keys.search.none", { typed })}</p>`}
      <ul class="key-cards">
        ${found.slice(0, most).map(
          (view) => html`<${KeyCard}
            key=${view.entry.name}
            view=${view}
            onEdit=${() => setOver({ kind: "edit", view })}
            onRevoke=${() => setOver({ kind: "revoke", name: view.entry.name })}
            onTurn=${() => turn(view)}
          />`,
        )}
      </ul>
      ${found.length > most &&
      html`<${Button} onClick=${() => setMost(most + SHOWN)}>${t("keys.more", { count: found.length - most })}<//>`}
    </section>`}
    ${over?.kind === "new" &&
    html`<${KeyDialog}
      first=${session.value.open}
      onSave=${async (entry) => setOver(await made(entry))}
      onClose=${close}
    />`}
    ${over?.kind === "edit" &&
    html`<${KeyDialog}
      view=${over.view}
      onSave=${async (changes) => {
        await change(over.view.entry.name, changes);
        close();
        notify(t("keys.changed", { name: over.view.entry.name }));
      }}
      onClose=${close}
    />`}
    ${over?.kind === "secret" &&
    html`<${SecretDialog} name=${over.name} secret=${over.secret} signedIn=${over.signedIn} onClose=${close} />`}
    ${over?.kind === "revoke" &&
    html`<${AskDialog}
      title=${t("keys.ask.revoke", { name: over.name })}
      does=${t("keys.revoke")}
      onDo=${() => dropped(over.name, close)}
      onClose=${close}
    >
      <p>${t(over.name === session.value.principal ? "keys.ask.own" : "keys.ask.means")}</p>
    <//>`}
  `;
}

function fits(view, typed) {
  const text = [view.entry.name, view.entry.role, ...view.entry.models].join(" ").toLowerCase();
  return typed
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** Make a key; the first one closes the server, so that this page goes on with it. */
async function made(entry) {
  const first = session.value.open;
  const secret = await create(given(entry));
  if (first) await signIn(secret, { stay: false });
  await refresh();
  return { kind: "secret", name: entry.name, secret, signedIn: first };
}

async function turn(view) {
  const { name } = view.entry;
  try {
    await change(name, { disabled: !view.disabled });
    notify(t(view.disabled ? "keys.enabled" : "keys.disabled", { name }));
  } catch (error) {
    notify(error.message, { kind: "error" });
  }
}

async function dropped(name, close) {
  close();
  try {
    await revoke(name);
    notify(t("keys.revoked", { name }));
  } catch (error) {
    notify(error.message, { kind: "error" });
  }
}
