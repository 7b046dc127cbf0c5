/**
 * A conversation as a tree of messages, of which one branch is shown; pure: every change gives a new one.
 *
 * {id, title, titled, created, changed, settled, model, system, template, parameters, messages: {id: message},
 * chosen: {id of a message or "": id of the one shown after it}}. Moments are in ms; titled, settled: when its title
 * and its settings were changed, titled 0 for a title made of the first question. A message: {id, parent, role: "user"
 * | "assistant", at, changed, text}, with images [{url, name}] if a question, with model and all of recordOf if an
 * answer.
 */

/** A new one without messages. given: {id, at, model, system, template, parameters}. */
export function fresh({ id, at, model = "", system = "", template = "", parameters = {} }) {
  const settings = { model, system, template, parameters };
  return { id, title: "", titled: 0, created: at, changed: at, settled: at, ...settings, messages: {}, chosen: {} };
}

/** With one more message, which is the one shown after its parent. */
export function withMessage(conversation, message) {
  return {
    ...conversation,
    title: conversation.titled || message.parent ? conversation.title : titleFrom(message),
    changed: message.at,
    messages: { ...conversation.messages, [message.id]: { changed: message.at, ...message } },
    chosen: { ...conversation.chosen, [message.parent]: message.id },
  };
}

/** With some fields of a message changed. */
export function withChange(conversation, id, fields, at) {
  const message = { ...conversation.messages[id], ...fields, changed: at };
  return { ...conversation, changed: at, messages: { ...conversation.messages, [id]: message } };
}

/** With other settings: some of model, system, template, parameters. */
export function withSettings(conversation, settings, at) {
  return { ...conversation, ...settings, settled: at };
}

/** With a title of its reader's; instead of an empty one the begin of the first question. */
export function withTitle(conversation, title, at) {
  return { ...conversation, title: title.trim() || titleFrom(shown(conversation)[0]), titled: at };
}

/** With the branch shown that leads to a message. */
export function branchedTo(conversation, id) {
  const chosen = { ...conversation.chosen };
  for (let at = conversation.messages[id]; at; at = conversation.messages[at.parent]) chosen[at.parent] = at.id;
  return { ...conversation, chosen };
}

/** The messages that are shown, first to last. */
export function shown(conversation) {
  const found = [];
  const seen = new Set();
  let id = conversation.chosen[""];
  while (id && conversation.messages[id] && !seen.has(id)) {
    seen.add(id);
    found.push(conversation.messages[id]);
    id = conversation.chosen[id];
  }
  return found;
}

/** The messages from the first one to this one. */
export function leadingTo(conversation, id) {
  const found = [];
  for (let at = conversation.messages[id]; at; at = conversation.messages[at.parent]) found.push(at);
  return found.reverse();
}

/** All children by their parents' ids, each in the order in which they came. */
export function branches(conversation) {
  const found = new Map();
  for (const message of Object.values(conversation.messages)) {
    if (found.has(message.parent)) found.get(message.parent).push(message);
    else found.set(message.parent, [message]);
  }
  for (const children of found.values()) children.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  return found;
}

/** Whether an answer may still grow. */
export const isRunning = (message) => message.state === "waiting" || message.state === "streaming";

/**
 * What goes to the model, from the first message to this one, as {role, content}. Answers without a text are left out,
 * and questions that then follow on each other are one. images: whether the model takes them; else their names stand
 * there.
 */
export function askedOf(conversation, id, { images = true } = {}) {
  const found = [];
  for (const message of leadingTo(conversation, id)) {
    if (message.role === "assistant") {
      if (message.text) found.push({ role: "assistant", content: message.text });
      continue;
    }
    const content = contentOf(message, images);
    const before = found.at(-1);
    if (before?.role === "user") before.content = joined(before.content, content);
    else found.push({ role: "user", content });
  }
  return found;
}

function contentOf({ text, images = [] }, wanted) {
  if (!images.length) return text;
  if (!wanted) return [...images.map((image) => `[${image.name}]`), text].filter(Boolean).join("\n");
  const parts = images.map((image) => ({ type: "image_url", image_url: { url: image.url } }));
  return text ? [...parts, { type: "text", text }] : parts;
}

function joined(first, second) {
  if (typeof first === "string" && typeof second === "string") return `${first}\n\n${second}`;
  return [first, second].flatMap((content) =>
    typeof content === "string" ? [{ type: "text", text: content }] : content,
  );
}

const LONGEST_TITLE = 60;

/** The begin of a question, or the name of its image. */
function titleFrom(question) {
  const text = (question?.text || question?.images?.[0]?.name || "").trim().replace(/\s+/g, " ");
  if (text.length <= LONGEST_TITLE) return text;
  const cut = text.slice(0, LONGEST_TITLE);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), LONGEST_TITLE / 2))}…`;
}

/** Whether all words (in lower case) stand in its title or its texts, in any of its branches. */
export function holds(conversation, words) {
  const left = new Set(words);
  const look = (text) => {
    const lower = text.toLowerCase();
    for (const word of left) if (lower.includes(word)) left.delete(word);
  };
  look(conversation.title);
  for (const message of Object.values(conversation.messages)) {
    if (!left.size) break;
    look(message.text);
  }
  return !left.size;
}

/**
 * Two versions of one conversation as one: all messages of both, of each message the later version; of title and
 * settings the later ones; of branches what is shown in the first. Gives the first itself where the second adds
 * nothing.
 */
export function merged(ours, theirs) {
  const messages = { ...ours.messages };
  let news = false;
  for (const message of Object.values(theirs.messages)) {
    const known = messages[message.id];
    if (known && known.changed >= message.changed) continue;
    messages[message.id] = message;
    news = true;
  }
  const found = { ...ours, title: ours.title || theirs.title, messages, chosen: { ...theirs.chosen, ...ours.chosen } };
  if (theirs.titled > ours.titled) Object.assign(found, { title: theirs.title, titled: theirs.titled });
  if (theirs.settled > ours.settled) {
    const { model, system, template, parameters, settled } = theirs;
    Object.assign(found, { model, system, template, parameters, settled });
  }
  news ||= found.titled !== ours.titled || found.settled !== ours.settled;
  if (!news) return ours;
  found.changed = Math.max(ours.changed, theirs.changed);
  return found;
}
