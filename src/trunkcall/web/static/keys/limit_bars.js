/** The limits of a key as bars of what is used of them, and what it has used where it has none. */
import { html } from "../lib/html.js";
import { moment, money, whole } from "../lib/format.js";
import { t } from "../lib/strings.js";
import { budgets, paces, renewal, uses } from "./limits.js";

/** Below this share left, a bar warns. */
const NEAR = 0.9;

/** view: of the key; remains: also say what is left and when a budget begins anew. */
export function LimitBars({ view, remains = false }) {
  const found = budgets(view);
  const quick = paces(view);
  const now = Date.now() / 1000;
  return html`<div class="limits">
    ${found.map(({ name, used, most, share }) => {
      const say = amountOf(name);
      const label = t(`keys.limit.${name}`);
      const words = t("keys.used_of", { used: say(used), most: say(most) });
      return html`<div key=${name} class="limit">
        <p class="limit-head"><span>${label}</span><span class="limit-words">${words}</span></p>
        <div
          class="limit-bar"
          role="meter"
          aria-label=${label}
          aria-valuemin="0"
          aria-valuemax="100"
          aria-valuenow=${Math.round(share * 100)}
          aria-valuetext=${words}
        >
          <span class=${share >= 1 ? "full" : share >= NEAR ? "near" : ""} style=${{ width: `${share * 100}%` }} />
        </div>
        ${remains &&
        html`<p class="limit-foot faint">
          ${share >= 1 ? t("keys.nothing_left") : t("keys.left", { left: say(most - used) })}${" "}
          ${t("keys.anew", { moment: moment(renewal(name, now)) })}
        </p>`}
      </div>`;
    })}
    ${quick.length > 0 &&
    html`<p class="paces">
      ${quick.map(({ name, most }) => t(`keys.pace.${name}`, { count: most, whole: whole(most) })).join(" · ")}
    </p>`}
    ${found.length === 0 && quick.length === 0 && html`<p class="faint">${t("keys.no_limits")}</p>`}
    <p class="uses faint">${t("keys.uses", said(view))}</p>
  </div>`;
}

function amountOf(name) {
  return name.startsWith("money") ? money : whole;
}

function said(view) {
  const found = {};
  for (const { name, used, isMoney } of uses(view)) found[name] = isMoney ? money(used) : whole(used);
  return found;
}
