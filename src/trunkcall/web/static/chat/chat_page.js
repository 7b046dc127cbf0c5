/** The page on which one model is asked: conversations left, what is said in the middle, settings right. */
import { html, signal, useEffect, useState } from "../lib/html.js";
import { modelOf, models, modelsError, refreshModels } from "../lib/models.js";
import { offer } from "../lib/palette.js";
import { chosen } from "../lib/parameters.js";
import { recall, remember } from "../lib/remembered.js";
import { go, query } from "../lib/router.js";
import { atLeast } from "../lib/screen.js";
import { mayAddModels, originOfModels, session } from "../lib/session.js";
import { settingsOf, withoutSettings } from "../lib/settings_link.js";
import { shortcut } from "../lib/shortcuts.js";
import { lasting } from "../lib/store.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { shown } from "../lib/conversation.js";
import { Button, IconButton } from "../components/button.js";
import { Composer } from "../components/composer.js";
import { Dialog } from "../components/dialog.js";
import { Markdown } from "../components/markdown.js";
import { Menu } from "../components/menu.js";
import { ModelPicker } from "../components/model_picker.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { Terms, termsAccepted } from "../components/terms.js";
import { notify } from "../components/toast.js";
import { ConversationList } from "./conversation_list.js";
import { begin, current, modelOfCurrent, open, remove, settle, takesImages } from "./conversations.js";
import { SettingsPanel } from "./settings_panel.js";
import { Thread } from "./thread.js";
import { takeAlong } from "./transfer.js";

/** From so many pixels on there is room for a column beside the conversation. */
const ROOM = { list: 1000, settings: 1240 };
const beside = { list: kept("list", true), settings: kept("settings", false) };

/** A switch that this browser remembers. */
function kept(name, first) {
  const stored = `trunkcall.chat.beside.${name}`;
  const found = signal((recall(stored) ?? String(first)) === "true");
  return {
    found,
    turn() {
      found.value = !found.value;
      remember(stored, String(found.value));
    },
  };
}

/** argument: the id of a conversation, "new", or empty for the one that was shown last. */
export default function ChatPage({ argument }) {
  useStylesheet("styles/chat.css");
  useEffect(() => {
    show(argument);
  }, [argument]);
  const live = current.value;
  useEffect(() => {
    if (!live?.gone.value || current.value !== live) return;
    notify(t("chat.gone"));
    begin();
    go("chat", "new", { replace: true });
  }, [live?.gone.value]);
  const began = live !== null && !live.isEmpty;
  useEffect(() => {
    // What was said has an address from then on.
    if (began && (argument === "new" || argument === "")) go("chat", live.id, { replace: true });
  }, [began, live]);
  if (live === null) return html`<div class="page"><${Waiting} /></div>`;
  return html`<${Chat} live=${live} />`;
}

async function show(argument) {
  if (argument === "" || argument === "new") {
    const link = settingsOf(query);
    if (link.found && current.value === null) {
      begin({ parameters: session.value.parameters, ...link.settings });
      if (link.wrong.length) notify(t("chat.link_wrong", { names: link.wrong.join(", ") }), { kind: "error" });
      const rest = withoutSettings(query).toString();
      history.replaceState(null, "", `${location.pathname}${rest && `?${rest}`}${location.hash}`);
    } else if (current.value === null || (argument === "new" && !current.value.isEmpty)) begin();
    else if (!current.value.isEmpty) go("chat", current.value.id, { replace: true });
    return;
  }
  if (current.value?.id === argument || (await open(argument))) return;
  notify(t("chat.not_here"), { kind: "error" });
  go("chat", "new", { replace: true });
}

function Chat({ live }) {
  const [over, setOver] = useState("");
  const columns = {
    list: atLeast(ROOM.list).value && beside.list.found.value,
    settings: atLeast(ROOM.settings).value && beside.settings.found.value,
  };
  const turn = (name) => (atLeast(ROOM[name]).value ? beside[name].turn() : setOver(name));
  useEffect(() => {
    const withdraw = [
      shortcut({ keys: "Escape", label: t("chat.stop_shortcut"), always: true, run: () => stop(live) }),
      offer(() => offers(turn)),
    ];
    return () => withdraw.forEach((one) => one());
  }, [live]);
  return html`<div class="chat">
    ${columns.list && html`<aside class="chat-list" aria-label=${t("list.label")}><${ConversationList} /></aside>`}
    <div class="chat-main">
      <${Head} live=${live} columns=${columns} onTurn=${turn} />
      <${Thread} live=${live}><${Opening} live=${live} /><//>
      <div class="chat-foot">
        ${termsAccepted() ? html`<${Asking} live=${live} />` : html`<${Terms} />`}
      </div>
    </div>
    ${columns.settings &&
    html`<aside class="chat-settings" aria-label=${t("settings.title")}>
      <h2>${t("settings.title")}</h2>
      <${SettingsPanel} />
    </aside>`}
    ${over === "list" &&
    html`<${Dialog} title=${t("list.label")} onClose=${() => setOver("")}>
      <${ConversationList} onLeave=${() => setOver("")} />
    <//>`}
    ${over === "settings" &&
    html`<${Dialog} title=${t("settings.title")} onClose=${() => setOver("")}><${SettingsPanel} /><//>`}
  </div>`;
}

function stop(live) {
  if (!live.isAnswering) return false;
  live.stop();
  return true;
}

function offers(turn) {
  const group = t("palette.actions");
  return [
    { id: "chat-settings", label: t("settings.title"), group, run: () => turn("settings") },
    { id: "chat-export-json", label: t("list.export_json"), group, run: () => takeAlong("json") },
    { id: "chat-export-markdown", label: t("list.export_markdown"), group, run: () => takeAlong("markdown") },
    // In place of the frame's own, which load the page anew.
    ...(models.value ?? []).map(({ name, state }) => ({
      id: `model-${name}`,
      label: t("palette.chat_with", { model: name }),
      group: t("palette.models"),
      hint: t(`state.${state}`),
      run: () => {
        if (!current.value.isEmpty) begin();
        settle({ model: name });
        go("chat", "new");
      },
    })),
  ];
}

function Head({ live, columns, onTurn }) {
  const data = live.data.value;
  const count = Object.keys(chosen(data.parameters)).length + (data.system ? 1 : 0) + (data.template ? 1 : 0);
  return html`<div class="chat-head">
    <${IconButton}
      icon="menu"
      label=${t("list.show")}
      pressed=${columns.list ? "true" : "false"}
      onClick=${() => onTurn("list")}
    />
    <h1 class="visually-hidden">${data.title || t("page.chat")}</h1>
    <${ModelPicker} value=${modelOfCurrent()} onChange=${(model) => settle({ model })} />
    <span class="chat-title" aria-hidden="true">${data.title}</span>
    <${Button}
      icon="settings"
      kind="quiet"
      class="settings-button"
      aria-label=${count ? t("settings.count", { count }) : t("settings.title")}
      title=${t("settings.title")}
      aria-pressed=${columns.settings ? "true" : "false"}
      onClick=${() => onTurn("settings")}
    >${count > 0 && html`<span class="badge">${count}</span>`}<//>
    ${!live.isEmpty &&
    html`<${Menu}
      label=${t("chat.menu")}
      items=${[
        { icon: "plus", label: t("list.new"), run: () => go("chat", "new") },
        { icon: "download", label: t("list.one_json"), run: () => takeAlong("json", live.id) },
        { icon: "download", label: t("list.one_markdown"), run: () => takeAlong("markdown", live.id) },
        { icon: "trash", label: t("delete"), run: () => remove(live.id) },
      ]}
    />`}
  </div>`;
}

/** What stands above the first message. */
function Opening({ live }) {
  const model = modelOfCurrent();
  const { heading } = session.value;
  const known = modelOf(model);
  return html`${heading && html`<div class="chat-heading"><${Markdown} text=${heading} /></div>`}
    ${modelsError.value &&
    models.value === null &&
    html`<${ErrorNote} error=${modelsError.value} onRetry=${refreshModels} />`}
    ${models.value?.length === 0 && html`<${NoModels} />`}
    ${live.isEmpty &&
    model &&
    models.value?.length !== 0 &&
    html`<div class="chat-opening">
      <p class="chat-invitation">${t("chat.invitation", { model })}</p>
      ${known && known.state !== "ready" && html`<p class="faint">${t(`state.${known.state}.means`)}</p>`}
      ${models.value && !known && html`<p class="chat-unknown">${t("chat.unknown_model", { model })}</p>`}
      <p class="faint">${t("chat.kept_here")}</p>
    </div>`}
    ${!lasting.value && html`<${NotLasting} />`}`;
}

function NoModels() {
  return html`<div class="chat-opening">
    <p class="chat-invitation">${t("chat.no_models")}</p>
    <p class="faint">${t(originOfModels())}</p>
    ${mayAddModels() && html`<${Button} icon="plus" onClick=${() => go("models")}>${t("chat.add_model")}<//>`}
  </div>`;
}

const told = signal(false);

function NotLasting() {
  if (told.value) return null;
  return html`<div class="chat-note" role="status">
    <p>${t("chat.not_lasting")}</p>
    <${Button}
      onClick=${() => {
        told.value = true;
      }}
    >${t("chat.understood")}<//>
  </div>`;
}

function Asking({ live }) {
  const model = modelOfCurrent();
  const { most_turns: most } = session.value;
  const turns = shown(live.data.value).filter((message) => message.role === "user").length;
  const why = !model
    ? t(models.value === null ? "chat.models_unknown" : "chat.no_model")
    : most !== null && turns >= most
      ? t("chat.turns", { count: most })
      : "";
  return html`<${Composer}
    key=${live.id}
    draft=${live.draft.value}
    onDraft=${(draft) => {
      live.draft.value = draft;
    }}
    onSend=${({ text, images }) => {
      live.draft.value = { text: "", images: [] };
      settle({ model });
      live.ask(model, text, images);
    }}
    onStop=${live.isAnswering ? () => live.stop() : undefined}
    images=${takesImages()}
    model=${model}
    why=${why}
    label=${model ? t("chat.ask", { model }) : t("chat.ask_nobody")}
    focused=${matchMedia("(pointer: fine)").matches}
  />`;
}
