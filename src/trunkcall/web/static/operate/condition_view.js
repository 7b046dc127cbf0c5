/** The server's condition: whether it is ready, what is amiss and what to do, and its own figures. */
import { html } from "../lib/html.js";
import { bytes, duration, moment, whole } from "../lib/format.js";
import { t } from "../lib/strings.js";
import { Icon } from "../components/icon.js";
import { readiness, status } from "./observed.js";

const KINDS = { ready: "good", degraded: "warning", draining: "warning" };

/** All of it, from what is observed. */
export function ConditionView() {
  const { version, uptime_seconds: uptime, started_at: started, memory, condition, pid, draining } = status.value;
  const found = draining ? "draining" : (readiness.value?.status ?? "");
  const reasons = readiness.value?.reasons ?? [];
  const { journal, ledger } = condition;
  return html`<section class="card condition" aria-labelledby="condition-title">
    <h2 id="condition-title" class="visually-hidden">${t("operate.condition")}</h2>
    <div class="condition-state" role="status">
      ${found && html`<span class=${`badge condition-badge ${KINDS[found]}`}>${t(`operate.state.${found}`)}</span>`}
      <span class="faint">${found && t(`operate.means.${found}`)}</span>
    </div>
    ${reasons.length > 0 &&
    html`<ul class="reasons">
      ${reasons.map(
        (reason) => html`<li key=${reason}><${Icon} name="warning" size=${18} /><span>${reason}</span></li>`,
      )}
    </ul>`}
    <dl class="condition-facts">
      <div><dt>${t("operate.version")}</dt><dd>${version}</dd></div>
      <div><dt>${t("operate.uptime")}</dt><dd title=${moment(started)}>${lived(uptime)}</dd></div>
      <div><dt>${t("operate.memory")}</dt><dd>${bytes(memory)}</dd></div>
      <div><dt>${t("operate.process")}</dt><dd>${pid}</dd></div>
      <div>
        <dt>${t("operate.journal")}</dt>
        <dd class=${journal.ok ? "" : "bad"} title=${journal.reason}>
          ${t(journal.ok ? "operate.fine" : "operate.not_fine")}
          ${condition.rows_waiting > 0 &&
          `, ${t("operate.rows_waiting", { count: condition.rows_waiting, whole: whole(condition.rows_waiting) })}`}
        </dd>
      </div>
      <div>
        <dt>${t("operate.ledger")}</dt>
        <dd class=${ledger.ok ? "" : "bad"} title=${ledger.reason}>
          ${t(ledger.ok ? "operate.fine" : "operate.not_fine")}
          ${condition.bytes_waiting > 0 &&
          `, ${t("operate.bytes_waiting", { size: bytes(condition.bytes_waiting) })}`}
        </dd>
      </div>
      ${condition.rows_lost > 0 &&
      html`<div><dt>${t("operate.rows_lost")}</dt><dd class="bad">${whole(condition.rows_lost)}</dd></div>`}
      ${condition.traces_lost > 0 &&
      html`<div><dt>${t("operate.traces_lost")}</dt><dd class="bad">${whole(condition.traces_lost)}</dd></div>`}
    </dl>
  </section>`;
}

function lived(seconds) {
  const days = Math.floor(seconds / 86400);
  if (!days) return seconds < 60 ? t("operate.seconds", { count: Math.floor(seconds) }) : duration(seconds * 1000);
  return t("operate.days", { days, hours: Math.floor((seconds % 86400) / 3600) });
}
