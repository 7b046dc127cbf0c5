/** The request that asks a model, as the page sends it and as the developer's corner shows it. */
import { chosen } from "./parameters.js";
import { sendJson } from "./http.js";

/**
 * What goes to the server for a question: {path, body}.
 *
 * asked: {model, system, messages: [{role, content}], parameters, template, continues, tools, extra}; content is a
 * text or OpenAI's parts; template: of a conversation, rendered by the server, empty for the model's own;
 * continues: the last message is the begin of the answer. Raises ApiError for a template that cannot be rendered.
 */
export async function requestOf(asked, options = {}) {
  const { model, system = "", messages, parameters = {}, template = "", continues = false, tools, extra = {} } = asked;
  const common = { model, stream: true, stream_options: { include_usage: true }, ...chosen(parameters), ...extra };
  if (template) {
    const rendered = await sendJson("/web/api/render", { template, system: system || null, messages }, options);
    const stop = [...new Set([...(common.stop ?? []), ...rendered.stop])];
    const body = { ...common, prompt: rendered.prompt };
    if (stop.length) body.stop = stop;
    if (rendered.stop_token_ids.length) body.stop_token_ids = rendered.stop_token_ids;
    return { path: "/v1/completions", body };
  }
  const told = system ? [{ role: "system", content: system }, ...messages] : messages;
  const body = { ...common, messages: told };
  if (tools?.length) body.tools = tools;
  if (continues) Object.assign(body, { continue_final_message: true, add_generation_prompt: false });
  return { path: "/v1/chat/completions", body };
}
