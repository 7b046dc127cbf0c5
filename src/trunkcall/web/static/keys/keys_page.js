/** The page of keys: who may call and how much, and what was used, each behind a tab. */
import { html, useEffect } from "../lib/html.js";
import { offer } from "../lib/palette.js";
import { address, go } from "../lib/router.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { KeyList } from "./key_list.js";
import { UseView } from "./use_view.js";

const TABS = [
  { name: "keys", argument: "" },
  { name: "use", argument: "use" },
];

/** argument: "use" for what was used, else empty. */
export default function KeysPage({ argument }) {
  useStylesheet("styles/keys.css");
  useStylesheet("styles/chart.css");
  useEffect(
    () => offer({ id: "keys.use", label: t("keys.tab.use"), group: t("page.keys"), run: () => go("keys", "use") }),
    [],
  );
  return html`<div class="page keys-page">
    <header class="page-head">
      <h1>${t("page.keys")}</h1>
      <nav class="tabs" aria-label=${t("keys.tabs")}>
        ${TABS.map(
          (tab) =>
            html`<a
              key=${tab.name}
              href=${address("keys", tab.argument)}
              aria-current=${tab.argument === argument ? "page" : undefined}
            >${t(`keys.tab.${tab.name}`)}</a>`,
        )}
      </nav>
    </header>
    ${argument === "use" ? html`<${UseView} />` : html`<${KeyList} />`}
  </div>`;
}
