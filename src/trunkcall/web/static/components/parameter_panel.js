/** The parameters of sampling as a form: what is set, and what the engine takes where nothing is. */
import { html, useEffect, useId, useRef, useState } from "../lib/html.js";
import { modelOf } from "../lib/models.js";
import { PARAMETERS, chosen, readParameter, readStops, writeStops } from "../lib/parameters.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button, IconButton } from "./button.js";

/**
 * model: the name of the one that is asked, for its defaults; values: {name: value}, of which those that are not there
 * stay the engine's own; onChange(values): all of them, new.
 */
export function ParameterPanel({ model, values, onChange }) {
  useStylesheet("styles/asking.css");
  const known = modelOf(model);
  const set = (name, value) => {
    const { [name]: _, ...rest } = values;
    onChange(value === undefined ? rest : { ...rest, [name]: value });
  };
  const count = Object.keys(chosen(values)).length;
  const one = (parameter) => {
    const Control = parameter.list ? Stops : Amount;
    return html`<${Control}
      key=${parameter.name}
      parameter=${parameter}
      most=${parameter.name === "max_tokens" && known?.context ? known.context : parameter.max}
      ownDefault=${known?.defaults[parameter.name]}
      value=${values[parameter.name]}
      onSet=${(value) => set(parameter.name, value)}
    />`;
  };
  const advanced = PARAMETERS.filter((parameter) => parameter.advanced);
  return html`<div class="parameters">
    ${PARAMETERS.filter((parameter) => !parameter.advanced).map(one)}
    <details open=${advanced.some(({ name }) => name in chosen(values)) || undefined}>
      <summary>${t("parameters.more")}</summary>
      ${advanced.map(one)}
    </details>
    <${Button} icon="again" disabled=${!count} onClick=${() => onChange({})}>${t("parameters.reset")}<//>
  </div>`;
}

function Amount({ parameter, most, ownDefault, value, onSet }) {
  const id = useId();
  const [typed, setTyped] = useState(value === undefined ? "" : String(value));
  const sent = useRef(value);
  useEffect(() => {
    // Changed from outside, as by a reset or another conversation.
    if (value !== sent.current) setTyped(value === undefined ? "" : String(value));
    sent.current = value;
  }, [value]);
  const { name, min, step, plain } = parameter;
  const { problem } = readParameter(parameter, typed);
  const take = (text) => {
    setTyped(text);
    const read = readParameter(parameter, text);
    if (read.problem) return;
    sent.current = read.value;
    onSet(read.value);
  };
  const otherwise = ownDefault === undefined ? t("parameters.engine") : t("parameters.default", { value: ownDefault });
  const about = [`${id}-help`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return html`<div class="parameter">
    <label for=${id}>${t(`parameter.${name}`)}</label>
    <input
      id=${id}
      class="parameter-value"
      inputmode="decimal"
      autocomplete="off"
      placeholder=${otherwise}
      aria-describedby=${about}
      aria-invalid=${problem ? "true" : undefined}
      value=${typed}
      onInput=${(event) => take(event.target.value)}
    />
    <${IconButton}
      icon="close"
      size=${16}
      class="parameter-clear"
      label=${t("parameters.unset", { name: t(`parameter.${name}`) })}
      disabled=${typed === ""}
      onClick=${() => take("")}
    />
    ${!plain &&
    html`<input
      type="range"
      class=${value === undefined ? "unset" : ""}
      aria-label=${t("parameters.slider", { name: t(`parameter.${name}`) })}
      min=${min}
      max=${most}
      step=${step}
      value=${value ?? ownDefault ?? NEUTRAL[name] ?? min}
      onInput=${(event) => take(event.target.value)}
    />`}
    <p id=${`${id}-help`} class="field-help">${t(`parameter.${name}.help`)}</p>
    ${problem &&
    html`<p id=${`${id}-problem`} class="field-error">${t(`parameters.not_${problem}`, { min, max: most })}</p>`}
  </div>`;
}

/** Where a slider stands while neither the reader nor the engine says: the value that changes nothing, where one is. */
const NEUTRAL = {
  temperature: 1,
  top_p: 1,
  typical_p: 1,
  repetition_penalty: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
};

function Stops({ parameter, value, onSet }) {
  const id = useId();
  const [typed, setTyped] = useState(writeStops(value));
  const sent = useRef(value);
  useEffect(() => {
    if (value !== sent.current) setTyped(writeStops(value));
    sent.current = value;
  }, [value]);
  const take = (text) => {
    setTyped(text);
    const stops = readStops(text);
    sent.current = stops.length ? stops : undefined;
    onSet(sent.current);
  };
  return html`<div class="parameter">
    <label for=${id}>${t(`parameter.${parameter.name}`)}</label>
    <textarea
      id=${id}
      rows="2"
      spellcheck="false"
      placeholder=${t("parameters.engine")}
      aria-describedby=${`${id}-help`}
      value=${typed}
      onInput=${(event) => take(event.target.value)}
    />
    <p id=${`${id}-help`} class="field-help">${t(`parameter.${parameter.name}.help`)}</p>
  </div>`;
}
