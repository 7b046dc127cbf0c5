/** What somebody pasted to add a model: an address, a path, a name of the Hub or a source of the settings. */

const SCHEME = /^[a-z][a-z0-9_-]+:(?!\/\/)/;
const URL_START = /^https?:\/\//i;
const HUB_HOST = /^https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\//i;
const HUB_PATH = /^([\w.-]+\/[\w.-]+)(?:\/(?:tree|blob|resolve)\/([^/?#]+)(?:\/([^?#]+))?)?/;
const HOST_AND_PORT = /^(?:\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}(?:\/.*)?$/i;
const HUB_NAME = /^[\w-][\w.-]*\/[\w.-]+(?::[^:@\s]+)?(?:@[\w./-]+)?$/;
const PATH = /^(?:[/~]|\.\.?(?:\/|$))/;

/**
 * {kind, source}: kind is "" (nothing yet), "url" (of a server to be asked), "path", "hub" or "source";
 * source: as the settings would have it, empty for an address.
 */
export function readPasted(text) {
  const given = text.trim();
  if (!given) return { kind: "", source: "" };
  const page = HUB_HOST.test(given) ? HUB_PATH.exec(given.replace(HUB_HOST, "")) : null;
  if (page) {
    const [, repo, revision = "main", file = ""] = page;
    return {
      kind: "hub",
      source: `hf:${repo}${file ? `:${file}` : ""}${revision === "main" ? "" : `@${revision}`}`,
    };
  }
  if (URL_START.test(given) || HOST_AND_PORT.test(given)) return { kind: "url", source: "" };
  if (given.startsWith("hf:")) return { kind: "hub", source: given };
  if (SCHEME.test(given)) return { kind: "source", source: given };
  if (PATH.test(given) || /\.gguf$/i.test(given)) return { kind: "path", source: given };
  if (HUB_NAME.test(given)) return { kind: "hub", source: `hf:${given}` };
  return { kind: "source", source: given };
}

/** A name for a model of this source that none of `taken` has: "hf:org/Some-7B-GGUF:Q4_K_M" -> "some-7b". */
export function nameFor(source, taken = []) {
  const last = source
    .replace(/^[a-z][a-z0-9_-]+:(?!\d)/, "")
    .replace(/^.*#/, "")
    .replace(/[:@].*$/, "")
    .replace(/\/+$/, "")
    .split("/")
    .at(-1);
  const plain = last
    .replace(/\.gguf$/i, "")
    .replace(/-gguf$/i, "")
    .replace(/\s+/g, "-")
    .toLowerCase();
  return free(plain || source.split(":")[0] || "model", taken);
}

/** A name, with a number behind it where it is taken. */
export function free(name, taken) {
  let found = name;
  for (let number = 2; taken.includes(found); number += 1) found = `${name}-${number}`;
  return found;
}
