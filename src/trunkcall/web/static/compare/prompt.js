/** Where what goes to all columns is written. */
import { html } from "../lib/html.js";
import { modelOf, models } from "../lib/models.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Composer } from "../components/composer.js";
import { Terms, termsAccepted } from "../components/terms.js";

/**
 * comparison: who is asked; names: of the models, or of those that may be drawn; count: how many are asked;
 * why: the reason for which nothing can be asked now; onSend(draft).
 */
export function Prompt({ comparison, names, count = names.length, why = "", onSend }) {
  useStylesheet("styles/chat.css");
  if (!termsAccepted()) return html`<${Terms} />`;
  const { most_turns: most } = session.value;
  const full = most !== null && comparison.turns >= most ? t("compare.turns", { count: most }) : "";
  const unknown = models.value === null ? t("chat.models_unknown") : names.includes("") ? t("compare.no_model") : "";
  return html`<${Composer}
    draft=${comparison.draft.value}
    onDraft=${(draft) => {
      comparison.draft.value = draft;
    }}
    onSend=${(draft) => {
      comparison.draft.value = { text: "", images: [] };
      onSend(draft);
    }}
    onStop=${comparison.running ? () => comparison.stop() : undefined}
    images=${imagesOf(names)}
    model=${t("compare.none_of_them")}
    why=${why || full || unknown}
    label=${count === 2 ? t("compare.ask_two") : t("compare.ask", { count })}
    stop=${t("compare.stop_all")}
    focused=${matchMedia("(pointer: fine)").matches}
  />`;
}

/** Whether any of them takes images; null where that is not known. */
function imagesOf(names) {
  const known = names.map((name) => modelOf(name)?.images ?? null);
  return known.includes(true) ? true : known.length && known.every((one) => one === false) ? false : null;
}
