/** Turns nodes that are shown into newer ones with few changes, so that nothing flickers or loses a selection. */

/** What stands behind `after` in `parent` (all of it, when after is null) becomes what stands in `fragment`. */
export function patch(parent, after, fragment) {
  let old = after === null ? parent.firstChild : after.nextSibling;
  let wanted = fragment.firstChild;
  while (wanted !== null) {
    const next = wanted.nextSibling;
    if (old === null) {
      parent.append(wanted);
    } else {
      const following = old.nextSibling;
      if (!renewed(old, wanted)) old.replaceWith(wanted);
      old = following;
    }
    wanted = next;
  }
  while (old !== null) {
    const following = old.nextSibling;
    old.remove();
    old = following;
  }
}

/** Whether the old node could be made into the wanted one. */
function renewed(old, wanted) {
  if (old.isEqualNode(wanted)) return true;
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) {
    if (wanted.data.startsWith(old.data)) old.appendData(wanted.data.slice(old.data.length));
    else old.data = wanted.data;
    return true;
  }
  if (!hasSameAttributes(old, wanted)) return false;
  patch(old, null, wanted);
  return true;
}

function hasSameAttributes(old, wanted) {
  // Whoever wrapped the lines of a code block, or has just copied it, keeps that.
  if (old.matches("figure.code, figure.code button")) return true;
  if (old.attributes.length !== wanted.attributes.length) return false;
  return [...old.attributes].every(({ name, value }) => wanted.getAttribute(name) === value);
}
