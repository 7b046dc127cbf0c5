/** What is done with a model: the calls, what is under way, and the way back where there is one. */
import { signal } from "../lib/html.js";
import { deleteJson, sendJson } from "../lib/http.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";
import { refresh, refreshSettings } from "./watched.js";

/** What is being done, by the name of a model or the id of a replica. */
export const underWay = signal({});

/** Where administration has a model. */
export const pathOf = (name) => `/admin/models/${encodeURIComponent(name)}`;

/** Start its engines now; undoes a drain. */
export const load = (name) => order(name, "load");

/** End its engines; running answers get half a minute. */
export const unload = (name) => order(name, "unload", { undo: () => load(name) });

/** No new requests, for a model or one replica of it. */
export const drain = (name, replica = "") => order(name, "drain", { replica, undo: () => load(name) });

/** End and start anew, a model or one replica of it. */
export const restart = (name, replica = "") => order(name, "restart", { replica });

/** Let a sleeping model wake. */
export const wake = (name) => during(name, "wake", () => change(name, { asleep: false }));

/** PATCH a model; gives its view, raises ApiError. */
export async function change(name, changes) {
  const view = await sendJson(pathOf(name), changes, { method: "PATCH" });
  await Promise.all([refresh(), refreshSettings()]);
  return view;
}

/** Add a model; gives its view, raises ApiError. */
export async function add(name, entry) {
  const view = await sendJson("/admin/models", { name, ...entry });
  await Promise.all([refresh(), refreshSettings()]);
  return view;
}

/** Take out an added model; entry: settings by which it can be had back, null where not known. */
export function remove(name, entry) {
  return during(name, "remove", async () => {
    await deleteJson(pathOf(name));
    await refreshSettings();
    const undo = () => during(name, "add", () => add(name, entry));
    notify(
      t("models.done.remove", { name }),
      entry ? { action: { label: t("models.undo"), run: undo } } : {},
    );
  });
}

/** Read the settings file again. */
export function reload() {
  return during("", "reload", async () => {
    const { changed, restart: waits } = await sendJson("/admin/reload", {});
    await refreshSettings();
    const said = changed.length
      ? t("models.reloaded", { names: changed.join(", ") })
      : t("models.reloaded.nothing");
    notify(waits.length ? `${said} ${t("models.reloaded.restart", { names: waits.join(", ") })}` : said);
  });
}

function order(name, verb, { replica = "", undo } = {}) {
  return during(replica || name, verb, async () => {
    await sendJson(`${pathOf(name)}/${verb}`, replica ? { replica } : {});
    const action = undo && { label: t("models.undo"), run: undo };
    if (verb !== "load") notify(t(`models.done.${verb}`, { name: replica || name }), { action });
  });
}

/** Do something while it is shown as under way; gives whether it went well. */
async function during(name, what, run) {
  underWay.value = { ...underWay.value, [name]: what };
  try {
    await run();
    return true;
  } catch (error) {
    notify(error.message, { kind: "error" });
    return false;
  } finally {
    const { [name]: _, ...others } = underWay.value;
    underWay.value = others;
    refresh();
  }
}
