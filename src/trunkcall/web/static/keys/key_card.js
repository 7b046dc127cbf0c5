/** One key: who it is, what it may ask, how much of its limits is used, and what can be done with it. */
import { html } from "../lib/html.js";
import { moment } from "../lib/format.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { LimitBars } from "./limit_bars.js";
import { conditionOf } from "./limits.js";

const KINDS = { good: "good", disabled: "danger", expired: "danger", used_up: "warning", expires_soon: "warning" };
/** So many models are named. */
const NAMED = 6;

/** view: as GET /admin/keys tells it; the rest are what its buttons do. */
export function KeyCard({ view, onEdit, onTurn, onRevoke }) {
  const { entry, origin, disabled, created_at: created } = view;
  const found = conditionOf(view, Date.now() / 1000);
  const own = entry.name === session.value.principal;
  const stored = origin === "store";
  return html`<li class="card key-card">
    <div class="key-head">
      <h3>${entry.name}</h3>
      ${own && html`<span class="badge">${t("keys.own")}</span>`}
      <span class=${`badge ${entry.role === "admin" ? "warning" : ""}`}>${t(`role.${entry.role}`)}</span>
      <span class=${`badge ${KINDS[found]}`}>${t(`keys.condition.${found}`)}</span>
    </div>
    <p class="key-models">
      ${entry.models.length === 0 && t("keys.all_models")}
      ${entry.models.slice(0, NAMED).map((name) => html`<code key=${name}>${name}</code> `)}
      ${entry.models.length > NAMED &&
      html`<span class="faint">${t("keys.and_more", { count: entry.models.length - NAMED })}</span>`}
    </p>
    <${LimitBars} view=${view} />
    <p class="key-dates faint">
      ${entry.expires_at !== null &&
      html`<span>
        ${t(found === "expired" ? "keys.expired_at" : "keys.expires", { moment: moment(entry.expires_at) })}
      </span>`}
      ${created > 0 && html`<span>${t("keys.made_at", { moment: moment(created) })}</span>`}
      ${!stored && html`<span>${t("keys.of_settings", { origin })}</span>`}
    </p>
    ${stored &&
    html`<div class="key-acts">
      <${Button}
        icon="edit"
        aria-haspopup="dialog"
        aria-label=${t("keys.edit.of", { name: entry.name })}
        onClick=${onEdit}
      >${t("keys.edit")}<//>
      <${Button}
        icon=${disabled ? "play" : "stop"}
        disabled=${own}
        onClick=${onTurn}
        aria-label=${t(disabled ? "keys.enable.of" : "keys.disable.of", { name: entry.name })}
      >${t(disabled ? "keys.enable" : "keys.disable")}<//>
      <${Button}
        icon="trash"
        kind="danger"
        aria-haspopup="dialog"
        aria-label=${t("keys.revoke.of", { name: entry.name })}
        onClick=${onRevoke}
      >${t("keys.revoke")}<//>
    </div>`}
  </li>`;
}
