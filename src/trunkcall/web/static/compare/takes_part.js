/** Which models may be drawn for a battle: all, unless their reader leaves some out. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Icon } from "../components/icon.js";
import { ModelState } from "../components/model_state.js";
import { Popup } from "../components/popup.js";
import { able, absent, drawable, takePart } from "./battle.js";

/** disabled: two are drawn already. */
export function TakesPart({ disabled }) {
  const all = able();
  const count = drawable().length;
  return html`<${Popup}
    label=${t("battle.pool")}
    atEnd
    class="pool"
    button=${(at) => html`<button
      type="button"
      ...${at}
      class="button terse"
      title=${t("battle.pool")}
      disabled=${disabled}
    >
      <${Icon} name="models" size=${18} /><span>${t("battle.pool_count", { count, all: all.length })}</span>
    </button>`}
  >
    ${() => html`<p class="pool-say">${t("battle.pool_say")}</p>
      <ul>
        ${all.map(
          ({ name, state, progress }) => html`<li key=${name}>
            <label>
              <input
                type="checkbox"
                checked=${!absent.value.includes(name)}
                onChange=${(event) => takePart(name, event.target.checked)}
              />
              <span>${name}</span>
              <${ModelState} state=${state} progress=${progress} />
            </label>
          </li>`,
        )}
      </ul>`}
  <//>`;
}
