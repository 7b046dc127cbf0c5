/** What components are written with: preact's functions and signals under one roof. */
import { Fragment, createContext, createPortal, h, render } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export {
  useCallback,
  useContext,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/preact_hooks.js";
export {
  Signal,
  batch,
  computed,
  effect,
  signal,
  untracked,
  useComputed,
  useSignal,
  useSignalEffect,
} from "../vendor/signals.js";
export { Fragment, createContext, createPortal, render };

/** Markup as a tagged template: html`<p class="x">${text}</p>`; texts are never read as HTML. */
export const html = htm.bind(h);
