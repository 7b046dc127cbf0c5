/** What can be done with a model as it is now; asks first where running answers would be cut. */
import { html, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { AskDialog } from "../components/ask_dialog.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { drain, load, remove, restart, underWay, unload, wake } from "./acts.js";
import { modelState, runsHere, standsIn, startsHere, work } from "./shape.js";
import { settings } from "./watched.js";

/** short: only what is wanted most; onEdit: shows the form of an added model; onRemoved: it is gone. */
export function ModelActs({ model, locked, short = false, onEdit, onRemoved }) {
  const [asked, setAsked] = useState("");
  const { name } = model;
  const busy = underWay.value[name];
  const here = startsHere(model);
  const draining = model.replicas.some((replica) => replica.state === "draining");
  const all = model.replicas.every((replica) => ["ready", "starting", "asleep"].includes(replica.state));
  const stands = settings.value ? standsIn(settings.value, name).kind : "";
  const ours = stands !== "registered" && stands !== "";
  const { running, waiting } = work(model);
  const count = running + waiting;
  const cautiously = (what, run) => () => (count > 0 ? setAsked(what) : run(name));
  const button = (what, icon, run, kind = "plain") =>
    html`<${Button}
      key=${what}
      icon=${icon}
      kind=${kind}
      onClick=${run}
      disabled=${Boolean(busy)}
      aria-busy=${busy === what}
    >
      ${t(busy === what ? `models.${what}.now` : `models.${what}`)}
    <//>`;
  const href = `/?model=${encodeURIComponent(name)}#/chat`;
  const chat = html`<a class="button plain" href=${href} aria-label=${t("models.chat.with", { name })}>
    <${Icon} name="chat" size=${18} /><span>${t("page.chat")}</span>
  </a>`;
  return html`<div class="acts" role="group" aria-label=${t("models.acts", { name })}>
    ${!locked &&
    ours &&
    html`
      ${modelState(model) === "asleep" && button("wake", "light", () => wake(name))}
      ${(draining || (here && !all)) && button("load", "play", () => load(name), short ? "plain" : "primary")}
      ${here && runsHere(model) && button("unload", "power", cautiously("unload", unload))}
      ${!short && !draining && button("drain", "pause", () => drain(name))}
      ${!short && here && runsHere(model) && button("restart", "again", cautiously("restart", restart))}
      ${!short && stands === "added" && button("edit", "edit", onEdit)}
      ${!short && stands === "added" && button("remove", "trash", () => setAsked("remove"), "danger")}
    `}
    ${chat}
    ${asked &&
    html`<${AskDialog}
      title=${t(`models.ask.${asked}`, { name })}
      does=${t(`models.${asked}`)}
      onClose=${() => setAsked("")}
      onDo=${async () => {
        setAsked("");
        if (asked === "unload") unload(name);
        else if (asked === "restart") restart(name);
        else if (await remove(name, entryOfView(model))) onRemoved?.();
      }}
    >
      ${asked === "remove" && html`<p>${t("models.remove.means")}</p>`}
      ${count > 0 && html`<p><strong>${t("models.cut", { count })}</strong></p>`}
    <//>`}
  </div>`;
}

/** By what a model could be added again; null when something of it is covered. */
function entryOfView(model) {
  const { source: _, ...rest } = settings.value.settings.models[model.name];
  const entry = { ...rest, source: model.sources };
  return JSON.stringify(rest).includes("***") ? null : entry;
}
