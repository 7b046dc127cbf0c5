/** One message of a conversation with what can be done with it. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { requestOf } from "../lib/chat_request.js";
import { askedOf, isRunning } from "../lib/conversation.js";
import { focusNext, hasKeyboard } from "../lib/focus.js";
import { memo } from "../lib/memo.js";
import { modelOf } from "../lib/models.js";
import { session } from "../lib/session.js";
import { t } from "../lib/strings.js";
import { AnswerView } from "../components/answer_view.js";
import { IconButton } from "../components/button.js";
import { Composer } from "../components/composer.js";
import { CopyButton } from "../components/copy_button.js";
import { DeveloperCorner } from "../components/developer_corner.js";
import { Dialog } from "../components/dialog.js";
import { ErrorNote, Waiting } from "../components/notes.js";
import { modelOfCurrent, takesImages } from "./conversations.js";

/**
 * live: the LiveConversation; message: of it; index, count: which of how many branches it is, from 0; before, after:
 * the ids of the branches beside it, empty for none; answer: the Answer that runs for it here, undefined for none;
 * last: whether it is the last one shown. Drawn again only when one of these changes.
 */
export const MessageView = memo(function MessageView(given) {
  return given.message.role === "user" ? html`<${Question} ...${given} />` : html`<${Reply} ...${given} />`;
});

function Question({ live, message, ...branch }) {
  const [draft, setDraft] = useState(null);
  const { text, images = [] } = message;
  const article = useRef(null);
  if (draft !== null) {
    return html`<article class="message question editing" aria-label=${t("chat.edits")}>
      <${Composer}
        draft=${draft}
        onDraft=${setDraft}
        images=${takesImages()}
        model=${modelOfCurrent()}
        label=${t("chat.edit")}
        focused
        onCancel=${() => {
          setDraft(null);
          focusNext(() => [editOf(article)]);
        }}
        onSend=${(sent) => {
          setDraft(null);
          live.askAgain(modelOfCurrent(), message.id, sent.text, sent.images);
          toComposer();
        }}
      />
    </article>`;
  }
  return html`<article ref=${article} id=${idOf(message.id)} class="message question" aria-label=${t("chat.you")}>
    <h2 class="visually-hidden">${t("chat.you")}</h2>
    ${images.length > 0 &&
    html`<ul class="question-images">
      ${images.map((image, index) => html`<li key=${index}><img src=${image.url} alt=${image.name} /></li>`)}
    </ul>`}
    ${text && html`<div class="question-text">${text}</div>`}
    <div class="message-tools">
      <${Branches} live=${live} ...${branch} />
      <${CopyButton} text=${text} size=${17} />
      <${IconButton}
        icon="edit"
        size=${17}
        class="edit"
        label=${t("chat.edit")}
        onClick=${() => setDraft({ text, images })}
      />
    </div>
  </article>`;
}

function Reply({ live, message, answer, last, ...branch }) {
  const [editing, setEditing] = useState(null);
  const [corner, setCorner] = useState(false);
  const elsewhere = isRunning(message) && !answer;
  const running = isRunning(message);
  const again = () => {
    live.answer(modelOfCurrent(), message.parent);
    toComposer();
  };
  const goOn = () => {
    live.goOn(modelOfCurrent(), message.id);
    toComposer();
  };
  // An answer without a begin has nothing to be gone on with.
  const continuable = last && !running && message.text;
  const article = useRef(null);
  return html`<article
    ref=${article}
    id=${idOf(message.id)}
    class="message reply"
    aria-label=${t("chat.answer_of", { model: message.model })}
  >
    <h2 class="reply-model">${message.model}</h2>
    ${elsewhere && html`<p class="faint reply-elsewhere">${t("chat.elsewhere")}</p>`}
    ${editing === null
      ? html`<${AnswerView}
          answer=${answer ?? message}
          model=${message.model}
          onAgain=${last && !running ? again : undefined}
          onContinue=${continuable ? goOn : undefined}
        />`
      : html`<${Rewording}
          text=${editing}
          onCancel=${() => {
            setEditing(null);
            focusNext(() => [editOf(article)]);
          }}
          onDone=${(text) => {
            setEditing(null);
            const made = live.reword(message.id, text);
            focusNext(() => [document.getElementById(idOf(made))?.querySelector(".edit")]);
          }}
        />`}
    ${!running &&
    editing === null &&
    html`<div class="message-tools">
      <${Branches} live=${live} ...${branch} />
      <${CopyButton} text=${message.text} size=${17} label=${t("chat.copy_answer")} />
      <${IconButton} icon="again" size=${17} label=${t("chat.regenerate")} onClick=${again} />
      <${IconButton}
        icon="edit"
        size=${17}
        class="edit"
        label=${t("chat.reword")}
        onClick=${() => setEditing(message.text)}
      />
      ${continuable &&
      message.state === "done" &&
      message.finish !== "length" &&
      html`<${IconButton} icon="play" size=${17} label=${t("answer.continue")} onClick=${goOn} />`}
      ${session.value.conversations && html`<${Votes} live=${live} message=${message} />`}
      <${IconButton} icon="code" size=${17} label=${t("chat.corner")} onClick=${() => setCorner(true)} />
    </div>`}
    ${corner && html`<${Corner} live=${live} message=${message} onClose=${() => setCorner(false)} />`}
  </article>`;
}

const toComposer = () => hasKeyboard() && focusNext(() => document.querySelectorAll(".chat-foot textarea"));
const idOf = (message) => `message-${message}`;
const editOf = (article) => article.current?.querySelector(".edit");

function Branches({ live, index, count, before, after }) {
  if (count < 2) return null;
  const way = (icon, label, to) => {
    const go = () => {
      live.show(to);
      // On with the same way, and where it ends with the way back.
      focusNext(() => {
        const [left, right] = document.getElementById(idOf(to))?.querySelectorAll(".branches button") ?? [];
        return icon === "left" ? [left, right] : [right, left];
      });
    };
    return html`<${IconButton} icon=${icon} size=${17} label=${label} disabled=${!to} onClick=${go} />`;
  };
  return html`<div class="branches" role="group" aria-label=${t("chat.branches")}>
    ${way("left", t("chat.branch_before"), before)}
    <span>${index + 1}/${count}</span>
    ${way("right", t("chat.branch_after"), after)}
  </div>`;
}

function Votes({ live, message }) {
  return ["upvote", "downvote", "flag"].map(
    (vote) => html`<${IconButton}
      key=${vote}
      icon=${vote}
      size=${17}
      label=${t(`chat.${vote}`)}
      pressed=${message.vote === vote ? "true" : "false"}
      disabled=${Boolean(message.vote)}
      onClick=${() => live.vote(message.id, vote)}
    />`,
  );
}

function Rewording({ text, onDone, onCancel }) {
  const [draft, setDraft] = useState({ text, images: [] });
  return html`<${Composer}
    draft=${draft}
    onDraft=${setDraft}
    images=${null}
    model=""
    label=${t("chat.reword")}
    send=${t("save")}
    plain
    focused
    onCancel=${onCancel}
    onSend=${(sent) => onDone(sent.text)}
  />`;
}

/** The request of an answer and what came for it; of an answer of another day the request as it would be now. */
function Corner({ live, message, onClose }) {
  const source = live.sources.get(message.id);
  const [request, setRequest] = useState(source?.request ?? null);
  const [error, setError] = useState(null);
  const find = () => {
    setError(null);
    const { system, template, parameters } = message.settings ?? live.data.value;
    const messages = askedOf(live.data.value, message.parent, { images: modelOf(message.model)?.images !== false });
    requestOf({ model: message.model, system, template, parameters, messages }).then(setRequest, setError);
  };
  useEffect(() => {
    if (request === null) find();
  }, []);
  return html`<${Dialog} title=${t("chat.corner")} onClose=${onClose} wide>
    ${error
      ? html`<${ErrorNote} error=${error} onRetry=${find} />`
      : request
        ? html`<${DeveloperCorner} request=${request} frames=${source?.frames} model=${message.model} />`
        : html`<${Waiting} />`}
  <//>`;
}
