/** A labelled field of a form, with its explanation and its mistake where both are read out. */
import { html, useId } from "../lib/html.js";

/** render(attributes): the control, which takes the attributes {id, aria-describedby, aria-invalid}. */
export function Field({ label, help, error, render, class: more = "" }) {
  const id = useId();
  const about = [help && `${id}-help`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return html`<div class=${`field ${more}`}>
    <label for=${id}>${label}</label>
    ${render({ id, "aria-describedby": about, "aria-invalid": error ? "true" : undefined })}
    ${help && html`<p id=${`${id}-help`} class="field-help">${help}</p>`}
    ${error && html`<p id=${`${id}-error`} class="field-error">${error}</p>`}
  </div>`;
}
