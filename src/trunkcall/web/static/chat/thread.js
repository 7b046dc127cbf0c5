/** The messages of a conversation one below the other, at whose end its reader stays unless they scroll away. */
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { branches, shown } from "../lib/conversation.js";
import { t } from "../lib/strings.js";
import { IconButton } from "../components/button.js";
import { MessageView } from "./message_view.js";

/** So near to the end, in pixels, its reader is at the end. */
const NEAR = 48;

/** live: the LiveConversation; children: what stands before the messages. */
export function Thread({ live, children }) {
  const box = useRef(null);
  const content = useRef(null);
  const [away, setAway] = useState(false);
  const stick = useRef(true);
  const data = live.data.value;
  const messages = shown(data);
  const known = branches(data);
  const toEnd = () => {
    box.current.scrollTop = box.current.scrollHeight;
  };
  useLayoutEffect(() => {
    stick.current = true;
    toEnd();
  }, [live]);
  const last = messages.at(-1);
  useLayoutEffect(() => {
    // Whoever asks wants to see what comes.
    if (last && live.answers.peek()[last.id]) {
      stick.current = true;
      toEnd();
    }
  }, [last?.id]);
  useEffect(() => {
    const element = box.current;
    // Before the frame is painted, so that nothing is seen to move.
    const watch = new ResizeObserver(() => stick.current && element.isConnected && toEnd());
    watch.observe(content.current);
    watch.observe(element);
    let before = element.scrollTop;
    const onScroll = () => {
      const { scrollTop, scrollHeight, clientHeight } = element;
      const near = scrollHeight - scrollTop - clientHeight < NEAR;
      // What grows does not lead away from the end; scrolling back does.
      if (near) stick.current = true;
      else if (scrollTop < before - 1) stick.current = false;
      before = scrollTop;
      setAway(!near && !stick.current);
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      watch.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, []);
  return html`<div class="thread-frame">
    <div ref=${box} class="thread" tabindex="0" role="region" aria-label=${t("chat.messages")}>
      <div ref=${content} class="thread-content">
        ${children}
        ${messages.map((message) => {
          const beside = known.get(message.parent);
          const index = beside.indexOf(message);
          return html`<${MessageView}
            key=${message.id}
            live=${live}
            message=${message}
            index=${index}
            count=${beside.length}
            before=${beside[index - 1]?.id ?? ""}
            after=${beside[index + 1]?.id ?? ""}
            answer=${live.answers.value[message.id]}
            last=${message === last}
          />`;
        })}
      </div>
    </div>
    ${away &&
    html`<${IconButton} icon="down" kind="plain" class="to-end" label=${t("chat.to_end")} onClick=${toEnd} />`}
  </div>`;
}
