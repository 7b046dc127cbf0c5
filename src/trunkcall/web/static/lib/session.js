/** Who uses the page, what this server lets them do, and signing in and out. */
import { batch, effect, signal } from "./html.js";
import { returns } from "./connection.js";
import { dropKey, keepKey, key, onOtherTabs } from "./key.js";
import { ApiError, forgive, getJson, refusals } from "./http.js";
import { t } from "./strings.js";

/**
 * As GET /web/api/session tells; null until it is known. When a key stops being good it stays as it was, so that the
 * page stays as it was below the sign-in.
 */
export const session = signal(null);
/** Why it is not known, an ApiError; null while all is well. */
export const sessionError = signal(null);
/** Whether somebody who was signed in has to do so again. */
export const signInAgain = signal(false);

const PATH = "/web/api/session";
const NOT_GOOD = { status: 401, kind: "unauthenticated" };

/** Ask the server who we are. */
export async function loadSession() {
  const used = key.peek();
  try {
    const told = await getJson(PATH);
    // Somebody has signed in or out meanwhile: their answer counts.
    if (used === key.peek()) take(told);
  } catch (error) {
    sessionError.value = error;
  }
}

function take(told) {
  const again = signInAgain.peek();
  batch(() => {
    sessionError.value = null;
    signInAgain.value = !told.signed_in && session.peek()?.signed_in === true;
    if (!signInAgain.peek()) session.value = told;
    if (!told.signed_in) return;
    forgive();
    // What was refused meanwhile is asked for again.
    if (again) returns.value += 1;
  });
}

/** Sign in with a key, which must be good; raises ApiError. user: for servers that ask for a name beside it. */
export async function signIn(secret, { stay = false, user = "" } = {}) {
  if (!user && !/^[\x21-\x7e]+$/.test(secret)) throw new ApiError(t("sign_in.no_key"), NOT_GOOD);
  const shown = user ? `Basic ${base64(`${user}:${secret}`)}` : `Bearer ${secret}`;
  const headers = { authorization: shown };
  const told = await getJson(PATH, { headers });
  if (!told.signed_in) {
    // The session says only that the key is not good; a refusal says why.
    if (!user) await getJson("/web/api/models", { headers });
    throw new ApiError(t("sign_in.refused"), NOT_GOOD);
  }
  keepKey(shown, stay);
  take(told);
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Forget the key here and in all other tabs; the page begins anew, so that nothing of this user's stays in it. */
export function signOut() {
  dropKey({ everywhere: true });
  location.reload();
}

/** Whether this caller may open a page. */
export function mayOpen(page) {
  return session.value?.pages.includes(page) ?? false;
}

/** Whether this caller may add models, in this page. */
export function mayAddModels() {
  return !session.value.locked && mayOpen("models");
}

/** The name of the text that says where models come from, for who sees none. */
export function originOfModels() {
  if (mayAddModels()) return "chat.no_models_admin";
  return session.value.open ? "chat.no_models_open" : "chat.no_models_user";
}

onOtherTabs((signedIn) => {
  if (signedIn) loadSession();
  else location.reload();
});

effect(() => {
  if (refusals.value + returns.value > 0) loadSession();
});
