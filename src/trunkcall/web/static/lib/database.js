/** The database of this browser: a connection to it that is made anew when it was lost, and transactions on that. */

const NAME = "trunkcall";
const VERSION = 1;
/** What it holds: each by its `id`. */
export const STORES = ["conversations", "votes"];
/** A database that takes longer to open, as one that hangs does, is done without. */
const PATIENCE_MS = 3000;
/** How openings and transactions end while the browser closes connections, as when it deletes what a site keeps. */
const PASSING = ["AbortError", "InvalidStateError", "UnknownError"];
/** What ended so is tried again after so long each, with a new connection. */
const PAUSES_MS = [50, 500];

let opening = null;

/** The connection that all use until it is lost. Raises where there is none; another one is asked for next time. */
function database() {
  opening ??= opened();
  return opening;
}

function opened() {
  const asked = new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    let isLate = false;
    // Nobody else waits for it; when it opens or fails after all, it is asked for anew.
    const timer = setTimeout(() => {
      isLate = true;
      reject(new DOMException("The database hangs.", "TimeoutError"));
    }, PATIENCE_MS);
    request.onupgradeneeded = () => {
      for (const store of STORES) request.result.createObjectStore(store, { keyPath: "id" });
    };
    request.onsuccess = () => {
      clearTimeout(timer);
      const found = request.result;
      // Another tab has a newer page: it may change the stores.
      found.onversionchange = () => lose(asked, found);
      // Somebody has deleted what this site keeps; what comes from now on is kept.
      found.onclose = () => lose(asked, found);
      if (isLate) lose(asked, found);
      else resolve(found);
    };
    request.onerror = () => {
      clearTimeout(timer);
      lose(asked);
      reject(request.error);
    };
  });
  return asked;
}

function lose(asked, found = null) {
  found?.close();
  if (opening === asked) opening = null;
}

/**
 * What a transaction on a store gives, where work(objects) asks for something and gives that request. Raises what kept
 * it from that; patient: only after it was asked again, as a connection may be lost.
 */
export async function inStore(store, mode, work, { patient }) {
  for (const pause of patient ? PAUSES_MS : []) {
    try {
      return await transacted(store, mode, work);
    } catch (error) {
      if (!PASSING.includes(error.name)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return transacted(store, mode, work);
}

async function transacted(store, mode, work) {
  const asked = database();
  const found = await asked;
  try {
    return await new Promise((resolve, reject) => {
      const transaction = found.transaction(store, mode, { durability: "relaxed" });
      const request = work(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new DOMException("Closed meanwhile.", "AbortError"));
    });
  } catch (error) {
    // It may be closed without having said so yet.
    if (PASSING.includes(error.name)) lose(asked, found);
    throw error;
  }
}
