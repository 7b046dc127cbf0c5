/** What the page reads out of administration's view of models; pure. */

const BEST_FIRST = ["ready", "busy_elsewhere", "asleep", "loading", "off", "draining", "failed"];

/** How one replica does, in the page's words. */
export function replicaState(replica) {
  if (replica.state === "starting") return "loading";
  // It is off until the next one asks, and was told why.
  if (replica.state === "off" && replica.error) return "failed";
  return replica.state === "ready" && replica.breaker.state === "open" ? "failed" : replica.state;
}

/** How a model does: as its best replica. */
export function modelState(model) {
  const states = model.replicas.map(replicaState);
  return BEST_FIRST.find((state) => states.includes(state)) ?? "failed";
}

/** Whether an engine of it is started by this server. */
export function startsHere(model) {
  return model.replicas.some((replica) => replica.engine !== "");
}

/** Whether something of it runs here, or is on its way. */
export function runsHere(model) {
  return model.replicas.some(
    (replica) => replica.engine && ["ready", "starting", "draining", "asleep"].includes(replica.state),
  );
}

/** Answers that are being written, and requests that wait. */
export function work(model) {
  const running = model.replicas.reduce((sum, replica) => sum + replica.in_flight, 0);
  const slots = model.replicas.map((replica) => replica.slots);
  return {
    running,
    waiting: model.waiting,
    slots: slots.includes(null) ? null : slots.reduce((sum, one) => sum + one, 0),
  };
}

/** Bytes of a replica that is there or on its way: as measured, else as expected; 0 for one that is off. */
export function replicaMemory(replica) {
  if (!replica.engine || ["off", "failed"].includes(replica.state)) return 0;
  return replica.rss || replica.memory;
}

/** The same for all of a model. */
export function modelMemory(model) {
  return model.replicas.reduce((sum, replica) => sum + replicaMemory(replica), 0);
}

/** Models without those that are adapters of another. */
export function withoutAdapters(models) {
  const adapters = new Set(models.flatMap((model) => model.adapters));
  return models.filter((model) => !adapters.has(model.name));
}

/** All names under which a model answers. */
export function namesOf(models) {
  return models.flatMap((model) => [model.name, ...model.aliases, ...model.adapters]);
}

/**
 * Where a model's settings stand, by GET /admin/settings: {kind, place}; kind: "added", "file", "flag" (the
 * command line), "built_in" or "registered" (a worker that came by itself).
 */
export function standsIn(settings, name) {
  if (!(name in settings.settings.models)) return { kind: "registered", place: "" };
  const place = settings.origins[`models.${name}`]?.at(-1).place ?? "";
  if (!place || place.endsWith("(trunkcall models add)")) return { kind: "added", place };
  if (place === "default") return { kind: "built_in", place };
  return { kind: place.startsWith("flag") ? "flag" : "file", place };
}
