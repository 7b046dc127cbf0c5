/** Bringing a text to the clipboard, also where a page came by plain HTTP from another machine. */

/** Settles once it is there; raises where the browser does not let this page copy. */
export async function copyText(text) {
  // Browsers keep the clipboard's own API from pages without TLS.
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else if (!copySelected(text)) throw new Error("this page may not copy");
}

function copySelected(text) {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  // What lies below an open dialog cannot be selected.
  (before?.closest("dialog") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  before?.focus({ preventScroll: true });
  return copied;
}
