/** Conversations and votes of this browser, in IndexedDB; where that is forbidden they last as long as the page. */
import { signal } from "./html.js";

const NAME = "trunkcall";
const VERSION = 1;
const STORES = ["conversations", "votes"];
/** A database that takes longer to open, as one that hangs does, is done without. */
const PATIENCE_MS = 3000;

/** False when what is kept will be gone with the page (private mode, storage refused or full). */
export const lasting = signal(true);

const memory = { conversations: new Map(), votes: new Map() };
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("trunkcall");
let opening = null;

function database() {
  opening ??= new Promise((resolve) => {
    let request;
    const without = () => {
      lasting.value = false;
      resolve(null);
    };
    try {
      request = indexedDB.open(NAME, VERSION);
    } catch {
      without();
      return;
    }
    const timer = setTimeout(without, PATIENCE_MS);
    request.onupgradeneeded = () => {
      for (const store of STORES) request.result.createObjectStore(store, { keyPath: "id" });
    };
    request.onsuccess = () => {
      clearTimeout(timer);
      const anew = () => {
        opening = null;
      };
      // Another tab has a newer page: it may change the stores.
      request.result.onversionchange = () => {
        request.result.close();
        anew();
      };
      // Somebody has deleted what this site keeps; what comes from now on is kept.
      request.result.onclose = anew;
      resolve(request.result);
    };
    request.onerror = request.onblocked = without;
  });
  return opening;
}

async function inStore(store, mode, work) {
  const found = await database();
  if (found === null) return undefined;
  return new Promise((resolve, reject) => {
    const transaction = found.transaction(store, mode, { durability: "relaxed" });
    const request = work(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** What reading gives; null where the database does not tell, which is then said as where nothing is kept. */
async function read(store, work) {
  try {
    return await inStore(store, "readonly", work);
  } catch {
    lasting.value = false;
    return null;
  }
}

/** All of a store, in no order; without those that cannot be read. */
export async function all(store) {
  const kept = (await read(store, (objects) => objects.getAll())) ?? [];
  const ids = new Set(kept.map((one) => one.id));
  return [...kept, ...[...memory[store].values()].filter((one) => !ids.has(one.id))];
}

/** One of a store by its id; undefined when it is not there, null when that cannot be told. */
export async function one(store, id) {
  return memory[store].get(id) ?? (await read(store, (objects) => objects.get(id)));
}

/** Keep one, by its `id`; other tabs are told. */
export async function keep(store, value) {
  try {
    if ((await database()) === null) memory[store].set(value.id, value);
    else await inStore(store, "readwrite", (objects) => objects.put(value));
  } catch {
    // Full, or taken away meanwhile: it stays here as long as the page.
    memory[store].set(value.id, value);
    lasting.value = false;
  }
  channel?.postMessage({ store, id: value.id });
}

/**
 * Change one in a single step, whatever other tabs do meanwhile: change(kept), undefined where none is kept, null where
 * that cannot be told, gives what to keep in its place, or undefined to leave all as it is. Gives what is kept then;
 * other tabs are told.
 */
export async function amend(store, id, change) {
  let value;
  try {
    if (memory[store].has(id) || (await database()) === null) {
      value = change(memory[store].get(id));
      if (value !== undefined) memory[store].set(id, value);
    } else {
      await inStore(store, "readwrite", (objects) => {
        const request = objects.get(id);
        request.onsuccess = () => {
          value = change(request.result);
          if (value !== undefined) objects.put(value);
        };
        return request;
      });
    }
  } catch {
    // Full, or taken away meanwhile: it stays here as long as the page.
    value ??= change(null);
    if (value !== undefined) memory[store].set(id, value);
    lasting.value = false;
  }
  if (value !== undefined) channel?.postMessage({ store, id });
  return value;
}

/** Look at each of a store in turn, without holding all of them: visit(value). */
export async function scan(store, visit) {
  for (const value of memory[store].values()) visit(value);
  await read(store, (objects) => {
    const request = objects.openCursor();
    request.onsuccess = () => {
      const cursor = request.result;
      if (cursor === null) return;
      if (!memory[store].has(cursor.key)) visit(cursor.value);
      cursor.continue();
    };
    return request;
  });
}

async function write(store, work) {
  try {
    await inStore(store, "readwrite", work);
  } catch {
    lasting.value = false;
  }
}

/** Forget one; other tabs are told. */
export async function drop(store, id) {
  memory[store].delete(id);
  await write(store, (objects) => objects.delete(id));
  channel?.postMessage({ store, id });
}

/** Forget all of a store; other tabs are told. */
export async function clear(store) {
  memory[store].clear();
  await write(store, (objects) => objects.clear());
  channel?.postMessage({ store, id: null });
}

/** Be told of what other tabs change: callback({store, id}), id null for all; gives how to stop that. */
export function onOtherTabs(callback) {
  const listener = (event) => callback(event.data);
  channel?.addEventListener("message", listener);
  return () => channel?.removeEventListener("message", listener);
}
