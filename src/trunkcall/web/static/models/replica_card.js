/** One replica of a model: where it runs and why there, what it does, and what it takes. */
import { html, useState } from "../lib/html.js";
import { ago, bytes, duration } from "../lib/format.js";
import { portion } from "../lib/progress.js";
import { t } from "../lib/strings.js";
import { AskDialog } from "../components/ask_dialog.js";
import { Button } from "../components/button.js";
import { CopyButton } from "../components/copy_button.js";
import { ModelState } from "../components/model_state.js";
import { drain, load, restart, underWay } from "./acts.js";
import { Meter, Progress } from "./meter.js";
import { replicaState } from "./shape.js";

/** model: whose it is; locked: it is only looked at. */
export function ReplicaCard({ model, replica, locked }) {
  const { address, breaker, engine, progress } = replica;
  const state = replicaState(replica);
  const time = duration(breaker.seconds * 1000);
  return html`<li class="card replica">
    <div class="model-card-head">
      <h3>${replica.id}</h3>
      <${ModelState} state=${state} progress=${progress} />
    </div>
    ${state === "loading" &&
    html`<div>
      <${Progress} done=${portion(progress)} label=${progress || t("state.loading")} />
      <p class="faint progress-words">${progress}</p>
    </div>`}
    ${replica.error && html`<p class="model-error">${replica.error}</p>`}
    ${breaker.state !== "closed" &&
    html`<p class="model-error">
      ${t(`models.breaker.${breaker.state}`, { time, failures: breaker.failures })} ${breaker.why}
    </p>`}
    <dl class="facts wide">
      <${Fact} name="source"><code>${replica.source}</code><//>
      <${Fact} name="engine">
        ${engine ? html`${engine}<span class="faint">: ${replica.why}</span>` : t("models.elsewhere")}
      <//>
      ${replica.faster && html`<${Fact} name="faster">${replica.faster}<//>`}
      ${address &&
      html`<${Fact} name="address">
        <code>${address}</code><${CopyButton} text=${address} label=${t("models.copy.address")} size=${16} />
      <//>`}
      ${replica.pid !== null && html`<${Fact} name="pid">${replica.pid}<//>`}
      <${Fact} name="load"><${Load} replica=${replica} /><//>
      ${engine && html`<${Fact} name="memory"><${Memory} replica=${replica} /><//>`}
      ${engine && html`<${Fact} name="lives">${lives(replica)}<//>`}
      ${replica.last_used > 0 && html`<${Fact} name="last_used">${ago(replica.last_used)}<//>`}
      ${replica.loaded_at > 0 && html`<${Fact} name="loaded_at">${ago(replica.loaded_at)}<//>`}
    </dl>
    ${!locked && model.replicas.length > 1 && html`<${ReplicaActs} model=${model} replica=${replica} />`}
  </li>`;
}

function Fact({ name, children }) {
  return html`<div><dt>${t(`models.${name}`)}</dt><dd>${children}</dd></div>`;
}

function Load({ replica }) {
  const { in_flight: running, slots } = replica;
  if (slots === null) return t("models.running.unbounded", { count: running });
  const said = t("models.of", { some: running, all: slots });
  const parts = [{ kind: "models", size: running, label: said }];
  return html`${said}<${Meter} label=${t("models.load")} most=${slots} parts=${parts} />`;
}

function Memory({ replica }) {
  const { rss, memory } = replica;
  const sizes = { rss: bytes(rss), memory: bytes(memory) };
  if (!rss) return memory ? t("models.memory.expected", sizes) : t("models.unknown");
  if (!memory) return t("models.memory.only", sizes);
  const parts = [{ kind: rss > memory ? "over" : "models", size: rss, label: sizes.rss }];
  return html`${t("models.memory.measured", sizes)}
    <${Meter} label=${t("models.memory")} most=${Math.max(rss, memory)} parts=${parts} />`;
}

function lives({ loads, restarts, unloads, evictions }) {
  const told = Object.entries({ loads, restarts, unloads, evictions }).filter(([, count]) => count > 0);
  if (told.length === 0) return t("models.lives.none");
  return told.map(([name, count]) => t(`models.${name}`, { count })).join(", ");
}

function ReplicaActs({ model, replica }) {
  const [asked, setAsked] = useState(false);
  const busy = underWay.value[replica.id];
  const button = (what, icon, run) => html`<${Button} icon=${icon} disabled=${Boolean(busy)} onClick=${run}>
    ${t(busy === what ? `models.${what}.now` : `models.${what}`)}
  <//>`;
  const again = () => {
    setAsked(false);
    restart(model.name, replica.id);
  };
  return html`<div class="acts" role="group" aria-label=${t("models.acts", { name: replica.id })}>
    ${replica.state === "draining"
      ? button("load_all", "play", () => load(model.name))
      : button("drain", "pause", () => drain(model.name, replica.id))}
    ${replica.engine &&
    replica.state !== "off" &&
    button("restart", "again", () => (replica.in_flight ? setAsked(true) : again()))}
    ${asked &&
    html`<${AskDialog}
      title=${t("models.ask.restart", { name: replica.id })}
      does=${t("models.restart")}
      onClose=${() => setAsked(false)}
      onDo=${again}
    >
      <p><strong>${t("models.cut", { count: replica.in_flight })}</strong></p>
    <//>`}
  </div>`;
}
