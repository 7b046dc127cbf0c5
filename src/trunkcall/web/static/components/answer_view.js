/** An answer as its reader sees it: what the model thought, called and said, how it stands, and its figures. */
import { html, useState } from "../lib/html.js";
import { now } from "../lib/answer.js";
import { duration, whole } from "../lib/format.js";
import { modelOf } from "../lib/models.js";
import { t } from "../lib/strings.js";
import { useStylesheet } from "../lib/stylesheet.js";
import { Button } from "./button.js";
import { CopyButton } from "./copy_button.js";
import { Icon } from "./icon.js";
import { Markdown } from "./markdown.js";
import { ErrorNote } from "./notes.js";

/**
 * answer: an Answer that comes, or what recordOf gave of one; model: the name of who gives it; onAgain, onContinue:
 * what may be done about one that is not whole, undefined where it may not.
 */
export function AnswerView({ answer, model, onAgain, onContinue }) {
  useStylesheet("styles/asking.css");
  return html`<div class="answer">
    <${Reasoning} answer=${answer} />
    <${Text} answer=${answer} />
    <${ToolCalls} answer=${answer} />
    <${Progress} answer=${answer} model=${model} />
    <${Ending} answer=${answer} onAgain=${onAgain} onContinue=${onContinue} />
    <${Figures} answer=${answer} />
  </div>`;
}

const isRunning = (answer) => ["waiting", "streaming"].includes(now(answer.state));

function Text({ answer }) {
  const text = now(answer.text);
  return text ? html`<${Markdown} text=${text} streaming=${isRunning(answer)} />` : null;
}

function Reasoning({ answer }) {
  const [open, setOpen] = useState(false);
  if (!now(answer.reasoning)) return null;
  const thinking = isRunning(answer) && !now(answer.text);
  return html`<details class="reasoning" onToggle=${(event) => setOpen(event.target.open)}>
    <summary>
      ${t(thinking ? "answer.thinking" : "answer.thought")}${thinking && html` <span class="spinner" />`}
    </summary>
    ${open && html`<${Thoughts} answer=${answer} />`}
  </details>`;
}

function Thoughts({ answer }) {
  return html`<${Markdown} text=${now(answer.reasoning)} streaming=${isRunning(answer)} />`;
}

function ToolCalls({ answer }) {
  // An index that was left out by the model leaves a hole.
  const calls = (now(answer.toolCalls) ?? []).filter(Boolean);
  if (!calls.length) return null;
  return html`<ul class="tool-calls" aria-label=${t("answer.tools")}>
    ${calls.map(
      (call, index) => html`<li key=${index} class="tool-call">
        <div class="tool-call-head">
          <${Icon} name="code" size=${16} /> <span>${t("answer.tool", { name: call.name })}</span>
          <${CopyButton} text=${call.arguments} size=${16} label=${t("answer.tool.copy")} />
        </div>
        <pre tabindex="0"><code>${readable(call.arguments)}</code></pre>
      </li>`,
    )}
  </ul>`;
}

/** Arguments with line ends, once they are whole. */
function readable(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function Progress({ answer, model }) {
  const state = now(answer.state);
  const words = state === "waiting" ? waitingFor(now(answer.note), modelOf(model)) : "";
  return html`<div class=${state === "waiting" ? "answer-progress" : "visually-hidden"} role="status">
    ${state === "waiting" && html`<span class="spinner" aria-hidden="true" />`}
    <span>${words || t(`answer.${state}`)}</span>
  </div>`;
}

/** note: as the server tells it in a stream, `queue position 2, loading for 3 s`. */
function waitingFor(note, model) {
  const [, position, loading] = /^queue position (\d+)(?:, (.*))?$/.exec(note ?? "") ?? [];
  const words = loading || (model?.state === "loading" ? model.progress || t("answer.loading") : "");
  const queue = Number(position) > 0 ? t("answer.queue", { count: Number(position) }) : "";
  const starts = !words && (model?.state === "off" || model?.state === "asleep") ? t("answer.starting") : "";
  return [queue, words || starts || (position === undefined ? note : "")].filter(Boolean).join(" · ");
}

function Ending({ answer, onAgain, onContinue }) {
  const state = now(answer.state);
  if (isRunning(answer)) return null;
  const cut = now(answer.finish) === "length";
  const doings = html`${onContinue && html`<${Button} icon="play" onClick=${onContinue}>${t("answer.continue")}<//>`}
    ${onAgain && html`<${Button} icon="again" onClick=${onAgain}>${t("answer.again")}<//>`}`;
  if (state === "failed") {
    return html`<${ErrorNote} error=${now(answer.error) ?? { message: t("error.broke_off") }} />
      <div class="answer-doings">${doings}</div>`;
  }
  const empty = !now(answer.text) && !now(answer.reasoning) && !now(answer.toolCalls)?.length;
  const said = state === "stopped" ? "answer.was_stopped" : cut ? "answer.cut" : empty ? "answer.empty" : "";
  const filtered = now(answer.finish) === "content_filter" ? "answer.filtered" : "";
  if (!said && !filtered) return null;
  return html`<div class="answer-doings"><span class="faint">${t(filtered || said)}</span>${doings}</div>`;
}

function Figures({ answer }) {
  const { prompt, completion, cached, firstMs, totalMs, perSecond, estimated } = now(answer.figures) ?? {};
  // Where the server tells no count, pieces stand for tokens.
  const about = estimated ? "≈ " : "";
  const known = [
    completion !== undefined &&
      completion !== null &&
      t("answer.tokens", { count: completion, about, number: whole(completion) }),
    prompt !== undefined && prompt !== null && t("answer.prompt", { count: whole(prompt) }),
    cached > 0 && t("answer.cached", { count: whole(cached) }),
    firstMs !== undefined && firstMs !== null && t("answer.first", { time: duration(firstMs) }),
    perSecond && t("answer.speed", { speed: perSecond < 10 ? perSecond.toFixed(1) : whole(perSecond) }),
    totalMs && t("answer.total", { time: duration(totalMs) }),
  ].filter(Boolean);
  const more = [
    answer.resumed && t("answer.resumed"),
    answer.dropped?.length && t("answer.dropped", { names: answer.dropped.join(", ") }),
  ].filter(Boolean);
  return html`<div class="answer-figures">
    ${known.map((text) => html`<span key=${text}>${text}</span>`)}
    ${more.map((text) => html`<span key=${text} class="answer-remark">${text}</span>`)}
  </div>`;
}
