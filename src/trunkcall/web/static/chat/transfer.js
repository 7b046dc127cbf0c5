/** Conversations out of this browser and into it, as files. */
import { FileProblem, readFile, writeJson, writeMarkdown } from "../lib/conversation_files.js";
import { save } from "../lib/download.js";
import { newId } from "../lib/ids.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";
import { bring, kept } from "./conversations.js";

const KINDS = {
  json: { ending: "json", type: "application/json", write: (all) => writeJson(all, Date.now()) },
  markdown: { ending: "md", type: "text/markdown", write: writeMarkdown },
};

/** Save all conversations as a file, or the one of this id. kind: "json" or "markdown". */
export async function takeAlong(kind, id = null) {
  const all = await kept(id === null ? null : [id]);
  if (!all.length) {
    notify(t("transfer.nothing"));
    return;
  }
  const { ending, type, write } = KINDS[kind];
  const title = id === null ? t("transfer.all") : all[0].title || t("chat.untitled");
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60).toLowerCase() || "chat";
  save(`${name}.${ending}`, write(all), type);
}

/** Bring in the conversations of a file; one that is none changes nothing. */
export async function bringFile(file) {
  try {
    const all = readFile(await file.text(), newId, Date.now());
    await bring(all);
    notify(t("transfer.brought", { count: all.length }));
  } catch (problem) {
    const why = problem instanceof FileProblem ? problem.message : t("transfer.unreadable");
    notify(t("transfer.refused", { name: file.name, why }), { kind: "error" });
  }
}
