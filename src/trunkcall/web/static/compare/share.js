/** A text that its reader wants to give to others: copied, or shown where the browser does not copy. */
import { copyText } from "../lib/clipboard.js";
import { t } from "../lib/strings.js";
import { notify } from "../components/toast.js";

/** text: what is given away; copied: says that it was copied. */
export async function share(text, copied) {
  try {
    await copyText(text);
    notify(copied);
  } catch {
    notify(t("compare.share_this", { text }));
  }
}
