/** What the frame itself puts into the command palette: pages, models, conversations and what can always be done. */
import { models } from "./lib/models.js";
import { offer } from "./lib/palette.js";
import { address, go } from "./lib/router.js";
import { session, signOut } from "./lib/session.js";
import { shortcutsOpen } from "./lib/shortcuts.js";
import { signal } from "./lib/html.js";
import { t } from "./lib/strings.js";
import { THEMES, theme } from "./lib/theme.js";

const conversations = signal([]);

/** Look at what is kept, for a palette that opens. */
export async function lookUpConversations() {
  const { headings, loadHeadings } = await import("./chat/conversations.js");
  if (headings.value === null) await loadHeadings();
  conversations.value = headings.value;
}

/** Offer all of it; gives how to withdraw it. */
export function offerFrame() {
  return offer(() => {
    const { pages, open } = session.value;
    const chats = pages.includes("chat");
    return [
      ...(chats ? [newChat()] : []),
      ...pages.map((name) => ({
        id: `page-${name}`,
        label: t(`page.${name}`),
        group: t("palette.pages"),
        run: () => go(name),
      })),
      ...(chats ? (models.value ?? []).map(chatWith) : []),
      ...(chats ? conversations.value.map(conversation) : []),
      ...THEMES.filter((name) => name !== theme.value).map((name) => ({
        id: `theme-${name}`,
        label: t(`theme.${name}`),
        group: t("palette.actions"),
        run: () => {
          theme.value = name;
        },
      })),
      {
        id: "help",
        label: t("help"),
        group: t("palette.actions"),
        keys: "?",
        run: () => {
          shortcutsOpen.value = true;
        },
      },
      ...(open ? [] : [{ id: "sign-out", label: t("sign_out"), group: t("palette.actions"), run: signOut }]),
    ];
  });
}

function newChat() {
  return {
    id: "new-chat",
    label: t("shortcut.new_chat"),
    group: t("palette.actions"),
    keys: "n",
    run: () => go("chat", "new"),
  };
}

function chatWith({ name, state }) {
  return {
    id: `model-${name}`,
    label: t("palette.chat_with", { model: name }),
    group: t("palette.models"),
    hint: t(`state.${state}`),
    run: () => location.assign(`/?model=${encodeURIComponent(name)}${address("chat", "new")}`),
  };
}

function conversation({ id, title }) {
  return {
    id: `conversation-${id}`,
    label: title || t("palette.untitled"),
    group: t("palette.conversations"),
    run: () => go("chat", id),
  };
}
