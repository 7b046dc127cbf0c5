/** Where a server that needs keys asks for one: as the whole page, or over the page when a key stops being good. */
import { html, useEffect, useId, useRef, useState } from "./lib/html.js";
import { connected } from "./lib/connection.js";
import { userName } from "./lib/key.js";
import { session, signIn, signOut } from "./lib/session.js";
import { t } from "./lib/strings.js";
import { Button } from "./components/button.js";
import { Field } from "./components/field.js";

/** The whole page while nobody is signed in. */
export function SignIn() {
  useEffect(() => {
    document.title = `${t("sign_in.do")} · Trunkcall`;
  }, []);
  return html`<main class="alone">
    <div class="card sign-in">
      <h1><img src="/web/images/icon.svg" alt="" width="32" height="32" /> Trunkcall</h1>
      <${Form} />
    </div>
  </main>`;
}

/** Over the page, which stays as it is; only signing in, or giving it up, closes this. */
export function SignInOver() {
  const element = useRef(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  return html`<dialog
    ref=${element}
    class="dialog sign-in-over"
    aria-labelledby=${heading}
    onCancel=${(event) => event.preventDefault()}
    onClose=${() => element.current?.isConnected && element.current.showModal()}
  >
    <div class="dialog-content">
      <h2 id=${heading}>${t("sign_in.again")}</h2>
      <${Form} why=${t("sign_in.again.why")} onLeave=${signOut} />
    </div>
  </dialog>`;
}

function Form({ why, onLeave }) {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const secret = useRef(null);
  const { sign_in: asked } = session.value;
  const named = asked === "password";
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    setError("");
    try {
      await signIn(form.get("secret").trim(), { stay: form.has("stay"), user: named ? form.get("user").trim() : "" });
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
      secret.current.select();
    }
  };
  useEffect(() => secret.current.form.elements[0].focus(), []);
  return html`<form onSubmit=${submit}>
    <p>${why ?? t(named ? "sign_in.say_password" : "sign_in.say_key")}</p>
    ${!connected.value && html`<p class="offline" role="status">${t("offline")}</p>`}
    ${named &&
    html`<${Field}
      label=${t("sign_in.user")}
      render=${(at) => html`<input ...${at} name="user" required autocomplete="username" defaultValue=${userName()} />`}
    />`}
    <${Field}
      label=${t(named ? "sign_in.password" : "sign_in.key")}
      error=${error}
      render=${(at) =>
        html`<input
          ...${at}
          ref=${secret}
          name="secret"
          type="password"
          required
          autocomplete="current-password"
          autocapitalize="off"
          spellcheck="false"
        />`}
    />
    <p class="visually-hidden" role="alert">${error}</p>
    <label class="tick"><input type="checkbox" name="stay" /> ${t("sign_in.stay")}</label>
    <div class="sign-in-foot">
      <${Button} kind="primary" type="submit" disabled=${busy}>${t(busy ? "sign_in.doing" : "sign_in.do")}<//>
      ${onLeave && html`<${Button} kind="quiet" onClick=${onLeave}>${t("sign_in.leave")}<//>`}
    </div>
  </form>`;
}
