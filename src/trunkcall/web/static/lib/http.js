/** Calls of the server's APIs, with the caller's key; what goes wrong is an ApiError that can be shown. */
import { lost } from "./connection.js";
import { authorization, key } from "./key.js";
import { signal } from "./html.js";
import { t } from "./strings.js";

/** A failure in words for people. status: 0 if no server answered; kind: for programs; retryAfter: seconds or null. */
export class ApiError extends Error {
  constructor(message, { status = 0, kind = "", param = "", retryAfter = null, requestId = "" } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, kind, param, retryAfter, requestId });
  }

  /** Whether the server was not reached at all. */
  get isOffline() {
    return this.status === 0;
  }
}

/** Counts answers that said the key in use is not (any longer) good. */
export const refusals = signal(0);

/** A server that tells nothing for so long hangs, or cannot be reached. */
const PATIENCE_MS = 20_000;
const SIGNED_OUT = { status: 401, kind: "unauthenticated" };
let refused = null;

/** The key in use is good: calls that show it are made again, after a refusal. */
export function forgive() {
  refused = null;
}

/** GET, gives the JSON of the answer. options: {signal, headers}. */
export function getJson(path, options = {}) {
  return json("GET", path, undefined, options);
}

/** Send JSON, gives the JSON of the answer. options: {method: "POST", signal}. */
export function sendJson(path, body, { method = "POST", ...options } = {}) {
  return json(method, path, body, options);
}

/** DELETE, gives the JSON of the answer. */
export function deleteJson(path, options = {}) {
  return json("DELETE", path, undefined, options);
}

async function json(method, path, body, options) {
  // What is only read comes soon; what changes something may take its time.
  const limits = [options.signal, method === "GET" ? AbortSignal.timeout(PATIENCE_MS) : null].filter(Boolean);
  const answer = await open(path, { method, body, ...options, signal: AbortSignal.any(limits) });
  try {
    const text = await answer.text();
    return text ? JSON.parse(text) : null;
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new ApiError(t("error.foreign"), { status: answer.status, kind: "foreign" });
    }
    throw broken(error);
  }
}

/**
 * The answer once its head is in, for whoever reads a stream; raises ApiError for refusals and without a server. A key
 * that was refused is not shown again, except to ask whether it is good by now.
 */
export async function open(path, { method = "GET", body, signal: abort, headers = {} } = {}) {
  const used = headers.authorization ?? key.peek();
  if (refused === used && path !== "/web/api/session") throw new ApiError(t("error.signed_out"), SIGNED_OUT);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal: abort,
      cache: "no-store",
      headers: {
        ...authorization(),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw broken(error);
  }
  if (answer.ok) return answer;
  const failure = await refusalOf(answer);
  if (answer.status === 401 && used === key.peek()) {
    refused = used;
    refusals.value += 1;
  }
  throw failure;
}

/** Why nothing came, as it is to be raised. */
function broken(error) {
  if (error.name === "AbortError") return error;
  lost();
  return new ApiError(t("error.offline"), { kind: "offline" });
}

/** What an answer that is no success says, as an ApiError. */
export async function refusalOf(answer) {
  const text = await answer.text().catch(() => "");
  let said = {};
  try {
    const told = JSON.parse(text) ?? {};
    // The last two are what a listener with FastChat's own errors says.
    said = told.error ?? told.detail?.error ?? (told.object === "error" ? told : {});
  } catch {
    // Not ours: a proxy's page, which says nothing to a reader.
  }
  const after = Number(answer.headers.get("retry-after"));
  return new ApiError(said.message || t("error.status", { status: answer.status }), {
    status: answer.status,
    kind: said.kind ?? said.code ?? said.type ?? "",
    param: said.param ?? "",
    retryAfter: after > 0 ? after : null,
    requestId: answer.headers.get("x-trunkcall-request-id") ?? "",
  });
}
