/** Pictures for a question: read from files, made small enough, refused where they are none. */
import { bytes } from "./format.js";
import { t } from "./strings.js";

/** Larger ones are made smaller, in pixels of the longer side. */
export const MOST_PIXELS = 2048;
/** Images of one question. */
export const MOST_IMAGES = 8;
const MOST_FILE = 64 * 1024 * 1024;
/** All of a question's, in base64, stay below the 64 MiB that the server takes unless it is told otherwise. */
const MOST_SENT = 5 * 1024 * 1024;
/** What is sent as it is; other kinds become one of these. */
const KINDS = ["image/png", "image/jpeg", "image/webp"];
const QUALITY = 0.9;

/** A file that cannot be sent; its message says why to people. */
export class ImageProblem extends Error {}

/** A file as {url, name}, where url holds the picture itself. Raises ImageProblem. */
export async function readImage(file) {
  const { name } = file;
  check(file.size, MOST_FILE, "images.file", name);
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    throw new ImageProblem(t("images.none", { name: name || t("images.pasted") }));
  }
  try {
    const sent = await fitting(file, picture);
    check(sent.size, MOST_SENT, "images.sent", name);
    return { url: await dataUrl(sent), name: name || t("images.pasted") };
  } finally {
    picture.close();
  }
}

function check(size, most, text, name) {
  if (size > most) throw new ImageProblem(t(text, { name, size: bytes(size), most: bytes(most) }));
}

async function fitting(file, picture) {
  const share = Math.min(1, MOST_PIXELS / Math.max(picture.width, picture.height));
  if (share === 1 && KINDS.includes(file.type) && file.size <= MOST_SENT) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * share));
  canvas.height = Math.max(1, Math.round(picture.height * share));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const exact = file.type === "image/jpeg" ? null : await drawn(canvas, "image/png");
  if (exact && exact.size <= MOST_SENT / 4) return exact;
  // Photographs are smaller as JPEG, which cannot be seen through.
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return drawn(canvas, "image/jpeg");
}

function drawn(canvas, kind) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((found) => (found ? resolve(found) : reject(new ImageProblem(t("images.canvas")))), kind, QUALITY);
  });
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new ImageProblem(t("images.canvas")));
    reader.readAsDataURL(blob);
  });
}
