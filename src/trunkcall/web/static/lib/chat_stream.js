/** One streamed answer of the OpenAI API as events of its own, the same for chats and completions. */
import { ApiError, open } from "./http.js";
import { lost } from "./connection.js";
import { readEvents } from "./sse.js";
import { t } from "./strings.js";

/**
 * Ask, and read the answer as it comes. request: {path, body} as requestOf gives it; signal: aborts, which stops the
 * engine. Yields {type}: head {requestId, model, dropped} · note {text} (queue, loading) · text {text} ·
 * reasoning {text} · tool {index, id, name, arguments} · finish {reason} · usage {prompt, completion, cached} ·
 * resumed {how} · raw {data}. opener: instead of http.js's open, as openTogether gives it. Raises ApiError, also for an
 * answer that ends early, and AbortError.
 */
export async function* streamAnswer({ path, body }, signal, opener = open) {
  const response = await opener(path, { method: "POST", body, signal });
  yield {
    type: "head",
    requestId: response.headers.get("x-trunkcall-request-id") ?? "",
    model: response.headers.get("x-trunkcall-model") ?? "",
    dropped: (response.headers.get("x-trunkcall-dropped") ?? "").split(",").map((name) => name.trim()).filter(Boolean),
  };
  let finished = false;
  try {
    for await (const { data, comment } of readEvents(response)) {
      if (comment) {
        yield comment.startsWith("trunkcall resumed")
          ? { type: "resumed", how: "text" }
          : { type: "note", text: comment };
        continue;
      }
      if (data === "[DONE]") {
        finished = true;
        break;
      }
      yield { type: "raw", data };
      const chunk = JSON.parse(data);
      if (chunk.error) {
        const { message, code, type, param } = chunk.error;
        throw new ApiError(message, { status: 500, kind: code ?? type ?? "", param: param ?? "" });
      }
      yield* eventsOf(chunk);
    }
  } catch (error) {
    if (error instanceof TypeError) {
      lost();
      throw new ApiError(t("error.broke_off"), { kind: "offline" });
    }
    throw error;
  }
  if (!finished) throw new ApiError(t("error.broke_off"), { kind: "broke_off" });
}

function* eventsOf(chunk) {
  for (const choice of chunk.choices ?? []) {
    const delta = choice.delta ?? {};
    const reasoning = delta.reasoning_content ?? delta.reasoning;
    if (reasoning) yield { type: "reasoning", text: reasoning };
    const text = choice.text ?? delta.content;
    if (text) yield { type: "text", text };
    if (delta.refusal) yield { type: "text", text: delta.refusal };
    for (const call of delta.tool_calls ?? []) {
      yield {
        type: "tool",
        index: call.index ?? 0,
        id: call.id ?? "",
        name: call.function?.name ?? "",
        arguments: call.function?.arguments ?? "",
      };
    }
    if (choice.finish_reason) yield { type: "finish", reason: choice.finish_reason };
  }
  if (chunk.usage) {
    yield {
      type: "usage",
      prompt: chunk.usage.prompt_tokens ?? 0,
      completion: chunk.usage.completion_tokens ?? 0,
      cached: chunk.usage.prompt_tokens_details?.cached_tokens ?? null,
    };
  }
}
