/** A box whose reader stays at its end while it grows, unless they have scrolled back. */
import { useEffect, useLayoutEffect, useRef } from "../lib/html.js";

/** So near to the end, in pixels, its reader is at the end. */
const NEAR = 48;

/**
 * The references {box, content} for the box that scrolls and the element in it that grows; asked: changes
 * with a question.
 */
export function useFollowing(asked) {
  const box = useRef(null);
  const content = useRef(null);
  const stays = useRef(true);
  useLayoutEffect(() => {
    // Whoever asks wants to see what comes.
    stays.current = true;
    toEnd(box.current);
  }, [asked]);
  useEffect(() => {
    const element = box.current;
    // Before the frame is painted, so that nothing is seen to move.
    const watch = new ResizeObserver(() => stays.current && toEnd(element));
    watch.observe(content.current);
    watch.observe(element);
    let before = element.scrollTop;
    const onScroll = () => {
      const { scrollTop, scrollHeight, clientHeight } = element;
      if (scrollHeight - scrollTop - clientHeight < NEAR) stays.current = true;
      // What grows does not lead away from the end; scrolling back does.
      else if (scrollTop < before - 1) stays.current = false;
      before = scrollTop;
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      watch.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, []);
  return { box, content };
}

function toEnd(element) {
  element.scrollTop = element.scrollHeight;
}
