/** The page: who is here, which page is shown, and the frame around it. */
import { returns } from "./lib/connection.js";
import { html, render, useEffect, useErrorBoundary, useState } from "./lib/html.js";
import { loadSession, mayOpen, session, sessionError } from "./lib/session.js";
import { go, route } from "./lib/router.js";
import { t } from "./lib/strings.js";
import { fetchStylesheet } from "./lib/stylesheet.js";
import { ErrorNote, Waiting } from "./components/notes.js";
import { Toasts } from "./components/toast.js";
import { Shell } from "./shell.js";
import { SignIn } from "./sign_in.js";

/** Each page is fetched when it is first opened, with its stylesheet; its module's default is the component. */
const PAGES = {
  chat: ["./chat/chat_page.js", "chat"],
  compare: ["./compare/compare_page.js", "compare"],
  battle: ["./compare/battle_page.js", "compare"],
  models: ["./models/models_page.js", "models"],
  operate: ["./operate/operate_page.js", "operate"],
  keys: ["./keys/keys_page.js", "keys"],
  usage: ["./keys/usage_page.js", "keys"],
};

/** Settles with a page's component. */
async function fetchPage(name) {
  const [module, styles] = PAGES[name];
  const [{ default: component }] = await Promise.all([import(module), fetchStylesheet(`styles/${styles}.css`)]);
  return component;
}

function App() {
  if (session.value === null) {
    return html`<main class="alone">
      ${sessionError.value === null
        ? html`<${Waiting} />`
        : html`<${ErrorNote} error=${sessionError.value} onRetry=${loadSession} />`}
    </main>`;
  }
  if (!session.value.signed_in) return html`<${SignIn} />`;
  const page = PAGES[route.value.page] && mayOpen(route.value.page) ? route.value.page : session.value.pages[0];
  return html`<${Shell} page=${page}><${Page} key=${page} name=${page} argument=${route.value.argument} /><//>`;
}

function Page({ name, argument }) {
  const [found, setFound] = useState(null);
  const [broken, mend] = useErrorBoundary((error) => reportError(error));
  const load = () => {
    setFound(null);
    fetchPage(name).then(
      (component) => setFound({ component }),
      () => {
        setFound({ failed: true });
        // Whether the server is there at all; if it is not, its return is waited for.
        loadSession();
      },
    );
  };
  useEffect(() => {
    if (found?.failed) load();
  }, [returns.value]);
  useEffect(() => {
    document.title = `${t(`page.${name}`)} · Trunkcall`;
    if (route.value.page !== name) go(name, "", { replace: true });
    load();
  }, [name]);
  if (broken) {
    return html`<div class="page"><${ErrorNote} error=${{ message: t("error.page") }} onRetry=${mend} /></div>`;
  }
  if (found === null) return html`<div class="page"><${Waiting} /></div>`;
  if (found.failed) {
    // A module that could not be fetched is not asked for again by the browser, unless the page begins anew.
    return html`<div class="page">
      <${ErrorNote} error=${{ message: t("error.module") }} onRetry=${() => location.reload()} />
    </div>`;
  }
  return html`<${found.component} argument=${argument} />`;
}

loadSession();
// On its way while the server says who we are; what fails is said when it is shown.
if (PAGES[route.value.page || "chat"]) fetchPage(route.value.page || "chat").catch(() => {});
render(html`<${App} /><${Toasts} />`, document.getElementById("app"));
