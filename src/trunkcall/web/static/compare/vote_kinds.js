/** Votes on hidden names and votes on names that were seen, told apart. */
import { t } from "../lib/strings.js";

/** What can be asked for. */
export const KINDS = ["anonymous", "named"];

/** Whether a vote is of a kind; all are of the empty one. */
export const ofKind = (vote, kind) => !kind || vote.anonymous === (kind === "anonymous");

/** A kind in words. */
export const sayKind = (kind) => t(`votes.kind.${kind || "any"}`);
