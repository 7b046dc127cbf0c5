/** Live events of administration, for as long as somebody watches. */
import { open } from "./http.js";
import { readEvents } from "./sse.js";

const PAUSE_MS = 1000;

/**
 * Watch GET /admin/events: told({event, data}) for each, with data read from JSON; lost() when the stream broke, after
 * which it is begun anew, so that whoever shows a state reads it again. Gives how to stop. kinds: of events, by commas.
 */
export function watchEvents(kinds, told, lost = () => {}) {
  const abort = new AbortController();
  (async () => {
    while (!abort.signal.aborted) {
      try {
        const response = await open(`/admin/events?kinds=${kinds}`, { signal: abort.signal });
        for await (const { event, data } of readEvents(response)) {
          if (data) told({ event, data: JSON.parse(data) });
        }
      } catch {
        // Without the server or the right, as the session will show.
      }
      if (abort.signal.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      lost();
    }
  })();
  return () => abort.abort();
}
