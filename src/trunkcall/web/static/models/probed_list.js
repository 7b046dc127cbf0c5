/** What was found at an address: kinds of servers with their models to tick and name; or what was tried. */
import { html } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { Fold } from "./fold.js";

/** So many are ticked one by one. */
const FEW = 3;

/**
 * probed: as POST /admin/probe tells it; names: of those that are ticked, by source; errors: texts by source;
 * nameOf(model): a name for one that is ticked; onTick(source, name): undefined for one that is not wanted.
 */
export function ProbedList({ probed, names, nameOf, onTick, errors }) {
  const tickAll = (models) => {
    for (const model of models) if (names[model.source] === undefined) onTick(model.source, nameOf(model));
  };
  if (probed.found.length === 0) {
    return html`<div class="probed" role="status">
      <p class="fits no">
        <${Icon} name="warning" size=${18} />
        <span>${probed.remedy || t("models.probe.nothing")}</span>
      </p>
      <${Tried} tried=${probed.tried} open=${true} />
    </div>`;
  }
  return html`<div class="probed" role="status">
    ${probed.found.map(
      (kind) => html`<fieldset key=${kind.kind}>
        <legend><${Icon} name="check" size=${16} /> ${kind.kind}</legend>
        ${kind.note && html`<p class="field-help">${kind.note}</p>`}
        ${kind.models.length > FEW &&
        html`<${Button} onClick=${() => tickAll(kind.models)}>
          ${t("models.probe.all", { count: kind.models.length })}
        <//>`}
        ${kind.models.map(
          (model) => html`<${Offered}
            key=${model.source}
            model=${model}
            name=${names[model.source]}
            error=${errors[model.source]}
            onName=${(name) => onTick(model.source, name)}
            onTick=${(ticked) => onTick(model.source, ticked ? nameOf(model) : undefined)}
          />`,
        )}
      </fieldset>`,
    )}
    ${probed.tried.length > 0 && html`<${Tried} tried=${probed.tried} open=${false} />`}
  </div>`;
}

function Offered({ model, name, error, onName, onTick }) {
  const ticked = name !== undefined;
  const shown = model.name || model.source;
  return html`<div class="offered">
    <label class="tick">
      <input type="checkbox" checked=${ticked} onChange=${(event) => onTick(event.target.checked)} />
      <span>${shown}<code class="faint">${model.source}</code></span>
    </label>
    ${ticked &&
    html`<label class="offered-name">
      <span class="visually-hidden">${t("models.name.of", { model: shown })}</span>
      <input
        aria-invalid=${error ? "true" : undefined}
        value=${name}
        spellcheck="false"
        onInput=${(event) => onName(event.target.value)}
      />
    </label>`}
    ${error && html`<p class="field-error" role="alert">${error}</p>`}
  </div>`;
}

function Tried({ tried, open }) {
  const summary = t(open ? "models.probe.tried_all" : "models.probe.tried", { count: tried.length });
  return html`<${Fold} summary=${summary} needed=${open}>
    <dl class="facts wide">
      ${tried.map((one) => html`<div key=${one.kind}><dt>${one.kind}</dt><dd>${one.why}</dd></div>`)}
    </dl>
  <//>`;
}
