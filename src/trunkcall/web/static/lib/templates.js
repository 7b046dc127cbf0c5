/** The conversation templates that may take the place of a model's own. */
import { signal } from "./html.js";
import { getJson } from "./http.js";

/** [{name, system}], null until they are known. */
export const templates = signal(null);

/** Fetch them, unless they are there; raises ApiError. */
export async function loadTemplates() {
  templates.value ??= (await getJson("/web/api/templates")).templates;
}
