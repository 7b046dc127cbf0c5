/** A button that copies a text. */
import { copyText } from "../lib/clipboard.js";
import { html, useState } from "../lib/html.js";
import { t } from "../lib/strings.js";
import { IconButton } from "./button.js";
import { notify } from "./toast.js";

const SHOWN_MS = 1500;

/** text: what is copied, or a function that gives it. */
export function CopyButton({ text, label = t("copy"), ...rest }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await copyText(typeof text === "function" ? text() : text);
      setDone(true);
      setTimeout(() => setDone(false), SHOWN_MS);
    } catch {
      notify(t("copy.refused"), { kind: "error" });
    }
  };
  return html`<${IconButton}
    icon=${done ? "check" : "copy"}
    label=${done ? t("copied") : label}
    onClick=${copy}
    ...${rest}
  />`;
}
