/** Names for what is kept in this browser: unlike any other, also where the page is not served by HTTPS. */

/** 22 letters and digits at random. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(22));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}
