/** The machine that engines run on: its cores, memory and GPUs, and what models take of them. */
import { html } from "../lib/html.js";
import { bytes } from "../lib/format.js";
import { t } from "../lib/strings.js";
import { Meter } from "./meter.js";
import { replicaMemory, withoutAdapters } from "./shape.js";
import { machine, settings, views } from "./watched.js";

/** An empty frame until the machine is known. */
export function MachineView() {
  const about = t("models.machine");
  if (machine.value === null) {
    return html`<section class="card machine" aria-busy="true" aria-label=${about} />`;
  }
  const { cores, memory, free, gpus, gpu_memory, gpu_free } = machine.value;
  const replicas = withoutAdapters(views.value ?? []).flatMap((model) => model.replicas);
  const running = replicas.filter((replica) => replicaMemory(replica) > 0);
  // What is expected of an engine on GPUs is their memory.
  const onGpus = gpus.length > 0;
  const taken = running.reduce((sum, replica) => sum + (replica.rss || (onGpus ? 0 : replica.memory)), 0);
  const others = free ? Math.max(0, memory - free - taken) : 0;
  const limit = settings.value?.settings.memory ?? null;
  const takenSaid = t("models.machine.models", { size: bytes(taken) });
  const othersSaid = t("models.machine.others", { size: bytes(others) });
  return html`<section class="card machine" aria-labelledby="machine-title">
    <div class="machine-about">
      <h2 id="machine-title">${about}</h2>
      <p class="faint">
        ${[
          t("models.machine.cores", { count: cores }),
          onGpus ? t("models.machine.gpus", { count: gpus.length }) : t("models.machine.no_gpu"),
          t("models.machine.engines", { count: running.length }),
        ].join(" · ")}
      </p>
    </div>
    <div class="machine-meters">
      <div>
        <${MeterHead} name=${t("models.memory")} free=${free} all=${memory} />
        <${Meter}
          label=${t("models.memory")}
          most=${memory}
          parts=${[
            { kind: "models", size: taken, label: takenSaid },
            { kind: "others", size: others, label: othersSaid },
          ]}
        />
        <p class="faint legend">
          <span class="legend-part"><span class="key models" />${takenSaid}</span>
          ${free > 0 && html`<span class="legend-part"><span class="key others" />${othersSaid}</span>`}
          ${limit !== null && html`<span>${t("models.machine.limit", { size: bytes(limit) })}</span>`}
        </p>
      </div>
      ${gpus.map(
        (name, at) => html`<${Gpu} key=${at} name=${name} all=${gpu_memory[at]} free=${gpu_free[at]} />`,
      )}
    </div>
  </section>`;
}

function Gpu({ name, all, free }) {
  if (!all) return html`<div><${MeterHead} name=${name} /></div>`;
  const label = t("models.machine.used", { size: bytes(all - free) });
  return html`<div>
    <${MeterHead} name=${name} free=${free} all=${all} />
    <${Meter} label=${name} most=${all} parts=${[{ kind: "models", size: all - free, label }]} />
  </div>`;
}

/** free: undefined or 0 where it is not known. */
function MeterHead({ name, free, all }) {
  const sizes = { free: bytes(free), all: bytes(all) };
  const known = free ? t("models.machine.free", sizes) : sizes.all;
  return html`<div class="meter-head">
    <span>${name}</span>
    <span class="faint">${free === undefined ? t("models.unknown") : known}</span>
  </div>`;
}
