/** Conversations as files: JSON holds all of them, Markdown the branch that is shown; both can be read again. Pure. */
import { fresh, shown, withMessage } from "./conversation.js";
import { t } from "./strings.js";

const FORMAT = "trunkcall.conversations";
const VERSION = 1;
const ID = /^[0-9A-Za-z-][\w-]{0,63}$/;
const IMAGE = /^data:image\/(png|jpeg|webp|gif);base64,[0-9A-Za-z+/=]+$/;
const STATES = ["done", "stopped", "failed"];

/** A file that is none of ours, or is damaged; its message says so to people. */
export class FileProblem extends Error {}

/** The text of a JSON file. at: the moment in ms. */
export function writeJson(conversations, at) {
  const told = conversations.map(({ messages, ...rest }) => ({ ...rest, messages: Object.values(messages) }));
  const exported = new Date(at).toISOString();
  return JSON.stringify({ format: FORMAT, version: VERSION, exported, conversations: told }, null, 1);
}

/**
 * The conversations of a file of either kind, all of them sound. newId(): for those that come without a name; at: the
 * moment in ms. Raises FileProblem.
 */
export function readFile(text, newId, at) {
  const found = text.trimStart().startsWith("{") ? readJson(text, at) : readMarkdown(text, newId, at);
  if (!found.length) throw new FileProblem(t("transfer.none"));
  return found;
}

function readJson(text, at) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new FileProblem(t("transfer.no_json"));
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new FileProblem(t("transfer.foreign"));
  checkVersion(file.version);
  return file.conversations.map((one, index) => soundConversation(one, index, at));
}

function checkVersion(version) {
  if (version === VERSION) return;
  throw new FileProblem(t("transfer.version", { version: String(version), known: VERSION }));
}

function soundConversation(one, index, at) {
  const check = (holds, field) => {
    if (!holds) throw new FileProblem(t("transfer.damaged", { index: index + 1, field }));
  };
  check(isObject(one) && isId(one.id), "id");
  check(Array.isArray(one.messages), "messages");
  const messages = {};
  for (const message of one.messages) {
    check(isObject(message) && isId(message.id) && !Object.hasOwn(messages, message.id), "messages.id");
    check(typeof message.text === "string", "messages.text");
    check(message.role === "user" || message.role === "assistant", "messages.role");
    messages[message.id] = message.role === "user" ? soundQuestion(message, at, check) : soundAnswer(message, at);
  }
  for (const { parent } of Object.values(messages)) {
    check(parent === "" || Object.hasOwn(messages, parent), "messages.parent");
  }
  check(endsEverywhere(messages), "messages.parent");
  const chosen = Object.entries(isObject(one.chosen) ? one.chosen : {}).filter(
    ([parent, id]) => Object.hasOwn(messages, id) && messages[id].parent === parent,
  );
  return {
    id: one.id,
    title: string(one.title),
    titled: moment(one.titled, 0),
    created: moment(one.created, at),
    changed: moment(one.changed, at),
    settled: moment(one.settled, 0),
    model: string(one.model),
    system: string(one.system),
    template: string(one.template),
    parameters: isObject(one.parameters) ? one.parameters : {},
    messages,
    chosen: Object.fromEntries(chosen),
  };
}

function soundQuestion({ id, parent, at, changed, text, images = [] }, now, check) {
  check(Array.isArray(images) && images.every((image) => IMAGE.test(image?.url)), "messages.images");
  const kept = images.map(({ url, name }) => ({ url, name: string(name) }));
  const moments = { at: moment(at, now), changed: moment(changed, 0) };
  return { id, parent: string(parent), role: "user", ...moments, text, images: kept };
}

function soundAnswer(message, now) {
  const { id, parent, at, changed, text, state, error } = message;
  const figures = Object.entries(isObject(message.figures) ? message.figures : {});
  const calls = Array.isArray(message.toolCalls) ? message.toolCalls.filter(isObject) : [];
  const moments = Object.entries({ start: message.start, ended: message.ended }).filter(([, value]) =>
    moment(value, 0),
  );
  return {
    id,
    parent: string(parent),
    role: "assistant",
    at: moment(at, now),
    changed: moment(changed, 0),
    text,
    model: string(message.model),
    reasoning: string(message.reasoning),
    toolCalls: calls.map(soundCall),
    state: STATES.includes(state) ? state : "stopped",
    error: isObject(error) ? soundError(error) : null,
    finish: string(message.finish),
    figures: Object.fromEntries(figures.filter(([, value]) => isFigure(value))),
    requestId: string(message.requestId),
    servedBy: string(message.servedBy),
    dropped: Array.isArray(message.dropped) ? message.dropped.filter((name) => typeof name === "string") : [],
    resumed: string(message.resumed),
    vote: string(message.vote),
    ...Object.fromEntries(moments),
    ...(isObject(message.settings) ? { settings: soundSettings(message.settings) } : {}),
  };
}

const soundSettings = ({ system, template, parameters }) => (
  { system: string(system), template: string(template), parameters: isObject(parameters) ? parameters : {} }
);

const soundCall = ({ id, name, arguments: given }) => ({
  id: string(id),
  name: string(name),
  arguments: string(given),
});
const soundError = ({ message, kind, requestId }) => ({
  message: string(message),
  kind: string(kind),
  requestId: string(requestId),
});

/** Whether every message leads back to a first one. */
function endsEverywhere(messages) {
  const sound = new Set([""]);
  for (const id of Object.keys(messages)) {
    const way = [];
    let at = id;
    while (!sound.has(at)) {
      if (way.length > Object.keys(messages).length) return false;
      way.push(at);
      at = messages[at].parent;
    }
    for (const seen of way) sound.add(seen);
  }
  return true;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isId = (value) => typeof value === "string" && ID.test(value);
const isFigure = (value) => typeof value === "number" || typeof value === "boolean" || value === null;
const string = (value) => (typeof value === "string" ? value : "");
const moment = (value, otherwise) => (Number.isFinite(value) && value >= 0 ? value : otherwise);

/** The text of a Markdown file; its comments, which are not shown, say what is read again. */
export function writeMarkdown(conversations) {
  return conversations.map(markdownOf).join("\n\n");
}

function markdownOf(conversation) {
  const title = conversation.title || t("chat.untitled");
  const { created, model, system, template, parameters } = conversation;
  const about = [
    `# ${title}`,
    mark("conversation", { version: VERSION, title, created, model, system, template, parameters }),
  ];
  for (const message of shown(conversation)) {
    const question = message.role === "user";
    about.push(mark(message.role, { at: message.at, ...(question ? {} : { model: message.model }) }));
    about.push(`## ${question ? t("chat.you") : message.model}`);
    for (const image of message.images ?? []) about.push(`*[${image.name}]*`);
    about.push(message.text.replace(/^(\\*)<!-- trunkcall /gm, "\\$1<!-- trunkcall "));
  }
  return `${about.join("\n\n")}\n`;
}

const mark = (name, told) => `<!-- trunkcall ${name} ${JSON.stringify(told).replaceAll("--", "-\\u002d")} -->`;

function readMarkdown(text, newId, at) {
  const pieces = text.replaceAll("\r\n", "\n").split(/^<!-- trunkcall (conversation|user|assistant) (\{.*\}) -->$/m);
  if (pieces.length < 4) throw new FileProblem(t("transfer.foreign"));
  const found = [];
  for (let piece = 1; piece + 2 < pieces.length; piece += 3) {
    const index = found.length || 1;
    let told;
    try {
      told = JSON.parse(pieces[piece + 1]);
    } catch {
      throw new FileProblem(t("transfer.damaged", { index, field: pieces[piece] }));
    }
    if (pieces[piece] === "conversation") {
      checkVersion(told.version);
      found.push(begun(told, newId(), at));
    } else if (found.length) {
      const last = found.pop();
      // Before the next conversation stands its heading.
      const ended = pieces[piece + 3] === "conversation";
      const section = ended ? pieces[piece + 2].replace(/\n\n\n# [^\n]*\s*$/, "") : pieces[piece + 2];
      found.push(withMessage(last, messageOf(pieces[piece], told, section, last, newId(), at)));
    } else {
      throw new FileProblem(t("transfer.damaged", { index, field: pieces[piece] }));
    }
  }
  return found;
}

function begun(told, id, at) {
  const { model, system, template, title } = told;
  const parameters = isObject(told.parameters) ? told.parameters : {};
  const settings = { model: string(model), system: string(system), template: string(template), parameters };
  const made = fresh({ id, at: moment(told.created, at), ...settings });
  return { ...made, title: string(title), titled: at };
}

function messageOf(role, told, section, conversation, id, now) {
  const body = section.replace(/^\s*## .*\n?/, "");
  const text = body.replace(/^\n+|\n+$/g, "").replace(/^\\(\\*<!-- trunkcall )/gm, "$1");
  const common = { id, parent: shown(conversation).at(-1)?.id ?? "", role, at: moment(told.at, now), text };
  if (role === "user") return soundQuestion(common, now, () => {});
  return soundAnswer({ ...common, model: told.model, state: "done" }, now);
}
