/** Whether the server can be reached, and the look-out for its return. */
import { signal } from "./html.js";

/** False from a request that found no server until /health answers again. */
export const connected = signal(true);
/** How often the server came back; whoever shows its state looks again when this changes. */
export const returns = signal(0);

const PAUSE_MS = 1000;
let looking = false;

/** A request found no server. */
export function lost() {
  connected.value = false;
  if (!looking) {
    looking = true;
    setTimeout(look, PAUSE_MS);
  }
}

async function look() {
  try {
    const answer = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (answer.ok) {
      looking = false;
      connected.value = true;
      returns.value += 1;
      return;
    }
  } catch {
    // Not yet.
  }
  setTimeout(look, PAUSE_MS);
}
