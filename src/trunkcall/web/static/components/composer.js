/** Where a question is written: its text and its images. */
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { hasKeyboard } from "../lib/focus.js";
import { whole } from "../lib/format.js";
import { MOST_IMAGES, readImage } from "../lib/images.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button, IconButton } from "./button.js";

/**
 * draft: {text, images}; onDraft(draft): it changed; onSend(draft): it is to be asked; images: whether the model takes
 * them, null where that is not known; model: its name; onStop: an answer comes and can be stopped; onCancel: nothing is
 * to be asked after all; why: the reason for which nothing can be asked now, empty where it can; label: of the text;
 * send, stop: of the buttons; plain: texts only; focused: it is written in at once.
 */
export function Composer(given) {
  useStylesheet("styles/asking.css");
  const { draft, onDraft, onSend, images, model, onStop, onCancel } = given;
  const { why = "", label, plain = false, focused = false } = given;
  const id = useId();
  const area = useRef(null);
  const picker = useRef(null);
  const latest = useRef(draft);
  latest.current = draft;
  const [problems, setProblems] = useState([]);
  const [reading, setReading] = useState(0);
  const [over, setOver] = useState(false);
  useLayoutEffect(() => grow(area.current), [draft.text]);
  useEffect(() => {
    if (focused) area.current.focus();
  }, [focused]);
  const most = plain ? null : session.value.most_characters;
  const tooLong = most !== null && draft.text.length > most;
  const empty = !draft.text.trim() && !draft.images.length;
  const left = images === false && draft.images.length > 0;
  const may = !empty && !tooLong && !why && !reading && !left && !onStop;

  const send = () => {
    if (!may) return;
    setProblems([]);
    onSend({ text: draft.text.trim(), images: draft.images });
  };
  const stop = () => {
    onStop();
    // Its button goes away when the answer has ended.
    if (hasKeyboard()) area.current.focus();
  };
  const add = async (files) => {
    if (!files.length || plain) return;
    if (images === false) {
      setProblems([t("images.model", { model })]);
      return;
    }
    const found = [];
    const room = Math.max(0, MOST_IMAGES - latest.current.images.length);
    const said = files.length > room ? [t("images.many", { count: MOST_IMAGES })] : [];
    setReading((count) => count + 1);
    for (const file of files.slice(0, room)) {
      try {
        found.push(await readImage(file));
      } catch (problem) {
        said.push(problem.message);
      }
    }
    setReading((count) => count - 1);
    setProblems(said);
    if (found.length) onDraft({ ...latest.current, images: [...latest.current.images, ...found] });
  };
  const onKeyDown = (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && onCancel) {
      event.preventDefault();
      onCancel();
    }
  };
  const onPaste = (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  };
  return html`<div
    class=${`composer ${over ? "over" : ""}`}
    onDragOver=${(event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${(event) => {
      setOver(false);
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      add([...event.dataTransfer.files]);
    }}
  >
    ${draft.images.length > 0 &&
    html`<ul class="composer-images" aria-label=${t("images.label")}>
      ${draft.images.map(
        (image, index) => html`<li key=${index}>
          <img src=${image.url} alt=${image.name} />
          <${IconButton}
            icon="close"
            size=${14}
            label=${t("images.remove", { name: image.name })}
            onClick=${() => onDraft({ ...draft, images: draft.images.filter((one) => one !== image) })}
          />
        </li>`,
      )}
    </ul>`}
    <label class="visually-hidden" for=${id}>${label}</label>
    <textarea
      ref=${area}
      id=${id}
      rows="1"
      placeholder=${label}
      aria-describedby=${`${id}-said`}
      aria-invalid=${tooLong ? "true" : undefined}
      value=${draft.text}
      onInput=${(event) => onDraft({ ...draft, text: event.target.value })}
      onKeyDown=${onKeyDown}
      onPaste=${onPaste}
    />
    <div class="composer-foot">
      <input
        ref=${picker}
        type="file"
        accept="image/*"
        multiple
        hidden
        onChange=${(event) => {
          add([...event.target.files]);
          event.target.value = "";
        }}
      />
      ${!plain &&
      html`<${IconButton}
        icon="image"
        label=${images === false ? t("images.model", { model }) : t("images.add")}
        disabled=${images === false}
        onClick=${() => picker.current.click()}
      />`}
      <div id=${`${id}-said`} class="composer-said" role="status">
        ${problems.map((text) => html`<p key=${text} class="field-error">${text}</p>`)}
        ${left && !problems.length && html`<p class="field-error">${t("images.model", { model })}</p>`}
        ${why && html`<p class="faint">${why}</p>`}
        ${most !== null &&
        draft.text.length > most * 0.9 &&
        html`<p class=${tooLong ? "field-error" : "faint"}>
          ${t("chat.characters", { count: whole(draft.text.length), most: whole(most) })}
        </p>`}
        ${reading > 0 && html`<p class="faint">${t("images.reading")}</p>`}
      </div>
      ${onCancel && html`<${Button} onClick=${onCancel}>${t("cancel")}<//>`}
      ${onStop
        ? html`<${Button} icon="stop" kind="primary" onClick=${stop}>${given.stop ?? t("chat.stop")}<//>`
        : html`<${Button} icon=${plain ? "check" : "send"} kind="primary" disabled=${!may} onClick=${send}>
            ${given.send ?? t("chat.send")}
          <//>`}
    </div>
  </div>`;
}

/** As high as its text; the stylesheet says how high at most. */
function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}
