/** Conversations and votes that the operator wants noted: sent to the server, which writes them down. */
import { sendJson } from "./http.js";
import { session } from "./session.js";

/**
 * A conversation as the server notes it. said: {id, model, messages: [{role, content}], system, template, parameters,
 * start, finish}, moments in ms; mode: "single", "anonymous" or "named".
 */
export function noteOf({ id, model, messages, system, template, parameters, start, finish }, mode) {
  const { temperature = null, top_p = null, max_tokens = null } = parameters;
  return {
    conversation_id: id,
    model,
    messages,
    system: system || null,
    template,
    start: start / 1000,
    finish: finish / 1000,
    parameters: { temperature, top_p, max_tokens },
    mode,
  };
}

/** Note an answer with what led to it, where that is wanted; raises ApiError. */
export async function noteAnswer(note) {
  if (session.value?.conversations) await sendJson("/web/api/conversations", note);
}

/**
 * Note a vote, where that is wanted. vote: upvote, downvote or flag on one note; left, right, tie or bothbad on two;
 * anonymous: the names were hidden. Raises ApiError.
 */
export async function noteVote(vote, notes, anonymous = false) {
  if (session.value?.conversations) await sendJson("/web/api/votes", { vote, anonymous, conversations: notes });
}
