/** Adding models: from a path, from the Hub, or from a server whose address was pasted. */
import { html, signal, useEffect, useRef, useState } from "../lib/html.js";
import { sendJson } from "../lib/http.js";
import { t } from "../lib/strings.js";
import { Button } from "../components/button.js";
import { Dialog } from "../components/dialog.js";
import { Field } from "../components/field.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { notify } from "../components/toast.js";
import { add, load } from "./acts.js";
import { Cost } from "./cost.js";
import { EMPTY, entryOf, fieldOf } from "./entry.js";
import { EntryForm } from "./entry_form.js";
import { Fold } from "./fold.js";
import { free, nameFor, readPasted } from "./pasted.js";
import { ProbedList } from "./probed_list.js";
import { namesOf } from "./shape.js";
import { views } from "./watched.js";

const NOTHING = { pasted: "", name: null, form: EMPTY, probed: null, names: {} };

const FORM = "add-model";

/** What was filled in, kept when the dialog is closed; name: null while it follows the source. */
const draft = signal(NOTHING);

/** onAdded: gets the name of the model to show, empty for several. */
export function AddDialog({ onClose, onAdded }) {
  const { pasted, form, probed, names } = draft.value;
  const [errors, setErrors] = useState({});
  const [failure, setFailure] = useState(null);
  const [busy, setBusy] = useState("");
  const probing = useRef(null);
  const read = readPasted(pasted);
  const isUrl = read.kind === "url";
  const taken = namesOf(views.value ?? []);
  const name = draft.value.name ?? (read.source ? nameFor(read.source, taken) : "");
  const { entry, errors: unread } = entryOf(form);
  const wanted = isUrl ? Object.entries(names) : read.source ? [[read.source, name]] : [];
  const looks = isUrl && !probed?.found.length;
  const set = (changes) => {
    draft.value = { ...draft.value, ...changes };
  };

  useEffect(() => () => probing.current?.abort(), []);
  const probe = async (text = pasted) => {
    probing.current?.abort();
    const abort = (probing.current = new AbortController());
    setBusy("probe");
    setFailure(null);
    setErrors({});
    set({ probed: null, names: {} });
    try {
      const found = await sendJson(
        "/admin/probe",
        { url: text.trim(), key: draft.value.form.key.trim() },
        { signal: abort.signal },
      );
      const only = found.found[0]?.models;
      set({ probed: found, names: only?.length === 1 ? { [only[0].source]: nameOf(only[0]) } : {} });
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.param === "key") setErrors({ key: error.message });
      else setErrors({ sources: error.message });
    }
    setBusy("");
  };
  const nameOf = (model) =>
    free(nameFor(model.name || model.source), [...taken, ...Object.values(draft.value.names)]);
  const paste = (text) => {
    probing.current?.abort();
    setBusy("");
    setErrors({});
    setFailure(null);
    set({ pasted: text, probed: null, names: {} });
  };
  const tick = (source, as) => {
    const { [source]: _, ...others } = draft.value.names;
    set({ names: as === undefined ? others : { ...draft.value.names, [source]: as } });
  };
  const refuse = (error) => {
    const field = error ? fieldOf(error.param, form) || (error.status === 400 ? "sources" : "") : "";
    setErrors(field ? { [field]: error.message } : {});
    setFailure(field ? null : error);
  };
  const submit = async (event) => {
    event.preventDefault();
    if (looks) {
      probe();
      return;
    }
    if (Object.keys(unread).length || wanted.length === 0) return;
    setBusy("add");
    setFailure(null);
    setErrors({});
    const done = [];
    try {
      for (const [source, as] of wanted) {
        const more = [entry.source ?? []].flat();
        await add(as.trim(), { ...entry, source: more.length ? [source, ...more] : source });
        done.push(as.trim());
        if (isUrl) {
          const { [source]: _, ...left } = draft.value.names;
          set({ names: left });
        }
      }
    } catch (error) {
      const [source] = wanted[done.length];
      if (isUrl && ["name", "model", "source"].includes(error.param)) setErrors({ [source]: error.message });
      else refuse(error);
      setBusy("");
      return;
    }
    draft.value = NOTHING;
    const action = isUrl ? undefined : { label: t("models.load"), run: () => load(done[0]) };
    notify(t("models.added", { names: done.join(", "), count: done.length }), { action });
    onAdded(done.length === 1 ? done[0] : "");
  };

  const ready = looks || (wanted.length > 0 && (isUrl || name.trim() !== ""));
  const inSettings = Object.keys({ ...errors, ...unread }).some(
    (field) => field in EMPTY && field !== "sources" && !(isUrl && field === "key"),
  );
  const does = looks
    ? t(probed ? "models.probe.again" : "models.probe")
    : t("models.add.do", { count: Math.max(1, wanted.length) });
  const foot = html`
    <${Button} onClick=${onClose}>${t("cancel")}<//>
    <${Button} kind="primary" type="submit" form=${FORM} disabled=${!ready || busy !== ""}>${does}<//>
  `;
  const onPaste = (event) => {
    const text = event.clipboardData.getData("text").trim();
    if (pasted.trim() || readPasted(text).kind !== "url") return;
    event.preventDefault();
    paste(text);
    probe(text);
  };
  return html`<${Dialog} title=${t("models.add")} onClose=${onClose} foot=${foot} wide=${true}>
    <form id=${FORM} class="add-model" onSubmit=${submit} novalidate>
      <${TextField}
        name="pasted"
        label=${t("models.pasted")}
        help=${t(read.kind ? `models.pasted.${read.kind}` : "models.pasted.help", { source: read.source })}
        error=${errors.sources}
        value=${pasted}
        onText=${paste}
        onPaste=${onPaste}
        autofocus=${true}
        placeholder="hf:org/name, /models/chat.gguf, http://host:8000"
      />
      ${isUrl &&
      html`<${TextField}
        name="key"
        label=${t("models.field.key")}
        help=${t("models.field.key.help")}
        error=${errors.key}
        value=${form.key}
        onText=${(key) => set({ form: { ...form, key }, probed: null, names: {} })}
        placeholder="env:NAME"
      />`}
      ${busy === "probe" && html`<${Waiting}>${t("models.probing")}<//>`}
      ${isUrl &&
      probed &&
      html`<${ProbedList}
        probed=${probed}
        names=${names}
        nameOf=${nameOf}
        errors=${errors}
        onTick=${tick}
      />`}
      ${isUrl && wanted.length > 0 && html`<p class="faint">${t("models.cost.elsewhere")}</p>`}
      ${read.source &&
      html`<${TextField}
          name="name"
          label=${t("models.name")}
          help=${t("models.name.help")}
          error=${errors.name}
          value=${name}
          onText=${(typed) => set({ name: typed })}
        />
        <${Cost} source=${read.source} entry=${entry} onError=${refuse} />`}
      ${read.kind &&
      html`<${Fold} summary=${t("models.settings")} needed=${inSettings}>
        <${EntryForm}
          form=${form}
          errors=${{ ...errors, sources: undefined, ...unread }}
          adding=${true}
          without=${isUrl ? ["sources", "key"] : []}
          onChange=${(changes) => {
            setErrors({});
            set({ form: { ...form, ...changes } });
          }}
        />
      <//>`}
      ${failure && html`<${ErrorNote} error=${failure} />`}
    </form>
  <//>`;
}

function TextField({ label, help, error, onText, ...rest }) {
  return html`<${Field}
    label=${label}
    help=${help}
    error=${error}
    render=${(at) => html`<input
      ...${at}
      ...${rest}
      spellcheck="false"
      autocomplete="off"
      onInput=${(event) => onText(event.target.value)}
    />`}
  />`;
}
