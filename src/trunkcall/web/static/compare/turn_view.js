/** A question with the answer of one column. */
import { computed, html, signal, useMemo } from "../lib/html.js";
import { memo } from "../lib/memo.js";
import { t } from "../lib/strings.js";
import { AnswerView } from "../components/answer_view.js";

/**
 * turn: of a Column; disguise: what stands for the model's name while that is hidden, else empty; onAgain: as
 * in AnswerView.
 */
export const TurnView = memo(function TurnView({ turn, disguise, onAgain }) {
  const { text, images, answer, asked } = turn;
  const shown = useMemo(() => (disguise ? disguised(answer, asked.model, disguise) : answer), [answer, disguise]);
  return html`<article class="turn" aria-label=${t("compare.turn", { model: disguise || asked.model })}>
    <div class="turn-question">
      <h3 class="visually-hidden">${t("chat.you")}</h3>
      ${images.length > 0 &&
      html`<ul class="turn-images">
        ${images.map((image, index) => html`<li key=${index}><img src=${image.url} alt=${image.name} /></li>`)}
      </ul>`}
      ${text && html`<div class="turn-text" tabindex=${isLong(text) ? 0 : undefined}>${text}</div>`}
    </div>
    <h3 class="visually-hidden">${t("compare.answer", { model: disguise || asked.model })}</h3>
    <${AnswerView} answer=${shown} model=${disguise ? "" : asked.model} onAgain=${onAgain} />
  </article>`;
});

/** Whether it may have to be scrolled, which must be possible by keyboard. */
function isLong(text) {
  return text.length > 120 || text.split("\n").length > 4;
}

/** The answer without what tells whose it is: names in an error, and how fast it came. */
function disguised(answer, model, disguise) {
  const error = computed(() => {
    const { value } = answer.error;
    return value && { ...value, message: value.message.replaceAll(model, disguise) };
  });
  const own = { error, figures: signal({}), dropped: [], resumed: "" };
  return Object.create(answer, Object.fromEntries(Object.entries(own).map(([name, value]) => [name, { value }])));
}
