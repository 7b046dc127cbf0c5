/** Conversations and votes of this browser, in IndexedDB; where that is forbidden they last as long as the page. */
import { STORES, inStore } from "./database.js";
import { signal } from "./html.js";

/** False while what is kept would be gone with the page (private mode, storage refused or full). */
export const lasting = signal(true);

/** What could not be written, by its id, until it can be. */
const memory = { conversations: new Map(), votes: new Map() };
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("trunkcall");
let catchingUp = null;

/** Nobody is made to wait for a database that has failed already. */
const asked = (store, mode, work) => inStore(store, mode, work, { patient: lasting.peek() });

/** What reading gives; null where the database does not tell, which is then said as where nothing is kept. */
async function read(store, work) {
  try {
    return await asked(store, "readonly", work);
  } catch {
    lasting.value = false;
    return null;
  }
}

/** Write, and then what could not be written before. Raises where it cannot be. */
async function write(store, work) {
  await asked(store, "readwrite", work);
  if (!lasting.peek()) await catchUp();
}

/** Write what could not be written; what still cannot waits on. */
function catchUp() {
  catchingUp ??= writeWaiting().finally(() => {
    catchingUp = null;
  });
  return catchingUp;
}

async function writeWaiting() {
  try {
    for (const store of STORES) {
      while (memory[store].size) {
        const [value] = memory[store].values();
        await asked(store, "readwrite", (objects) => {
          objects.put(value);
          // What takes it but does not give it back would be no use.
          return objects.get(value.id);
        });
        // Unless it was changed again meanwhile.
        if (memory[store].get(value.id) === value) memory[store].delete(value.id);
        channel?.postMessage({ store, id: value.id });
      }
    }
    lasting.value = true;
  } catch {
    lasting.value = false;
  }
}

/** All of a store, in no order; without those that cannot be read. */
export async function all(store) {
  const kept = (await read(store, (objects) => objects.getAll())) ?? [];
  return [...new Map([...kept, ...memory[store].values()].map((one) => [one.id, one])).values()];
}

/** One of a store by its id; undefined when it is not there, null when that cannot be told. */
export async function one(store, id) {
  return memory[store].get(id) ?? (await read(store, (objects) => objects.get(id)));
}

/** Keep one, by its `id`; other tabs are told. */
export async function keep(store, value) {
  await amend(store, value.id, () => value);
}

/**
 * Change one in a single step, whatever other tabs do meanwhile: change(kept), undefined where none is kept, null where
 * that cannot be told, gives what to keep in its place, or undefined to leave all as it is; it is asked again when a
 * connection was lost. Gives what is kept then; other tabs are told.
 */
export async function amend(store, id, change) {
  let value;
  if (memory[store].has(id)) {
    value = change(memory[store].get(id));
    if (value !== undefined) memory[store].set(id, value);
    await catchUp();
  } else {
    try {
      await write(store, (objects) => {
        const request = objects.get(id);
        request.onsuccess = () => {
          value = change(request.result);
          if (value !== undefined) objects.put(value);
        };
        return request;
      });
    } catch {
      // Full, or taken away meanwhile: it stays here until it can be written, or as long as the page.
      value ??= change(null);
      if (value !== undefined) memory[store].set(id, value);
      lasting.value = false;
    }
  }
  if (value !== undefined) channel?.postMessage({ store, id });
  return value;
}

/** Look at each of a store in turn, without holding all of them: visit(value). */
export async function scan(store, visit) {
  const seen = new Set(memory[store].keys());
  for (const value of memory[store].values()) visit(value);
  await read(store, (objects) => {
    const request = objects.openCursor();
    request.onsuccess = () => {
      const cursor = request.result;
      if (cursor === null) return;
      // It begins anew when a connection was lost.
      if (!seen.has(cursor.key)) visit(cursor.value);
      seen.add(cursor.key);
      cursor.continue();
    };
    return request;
  });
}

/** Forget one; other tabs are told. */
export async function drop(store, id) {
  memory[store].delete(id);
  await forget(store, (objects) => objects.delete(id));
  channel?.postMessage({ store, id });
}

/** Forget all of a store; other tabs are told. */
export async function clear(store) {
  memory[store].clear();
  await forget(store, (objects) => objects.clear());
  channel?.postMessage({ store, id: null });
}

async function forget(store, work) {
  try {
    await write(store, work);
  } catch {
    lasting.value = false;
  }
}

/** Be told of what other tabs change: callback({store, id}), id null for all; gives how to stop that. */
export function onOtherTabs(callback) {
  const listener = (event) => callback(event.data);
  channel?.addEventListener("message", listener);
  return () => channel?.removeEventListener("message", listener);
}
