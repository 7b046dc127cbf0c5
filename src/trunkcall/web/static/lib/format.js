/** Numbers, times and sizes as people read them. */

const NUMBER = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 1234567 -> "1,234,567". */
export const whole = (number) => NUMBER.format(Math.round(number));

/** 1234567 -> "1.2M". */
export const short = (number) => SHORT.format(number);

/** Milliseconds -> "85 ms", "2.4 s", "3 min 5 s"; empty for null. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return seconds < 3600
    ? `${Math.floor(seconds / 60)} min ${seconds % 60} s`
    : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** Bytes -> "512 MiB"; empty for null. */
export function bytes(size) {
  if (size === null || size === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size < 10 && unit ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** Money in the operator's currency: 0.0123 -> "0.0123". */
export const money = (amount) => (amount === 0 ? "0" : amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(2));

/** A moment (unix seconds or Date) as date and time of the reader. */
export function moment(at) {
  const date = at instanceof Date ? at : new Date(at * 1000);
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** A moment as its distance: "just now", "5 min ago", "yesterday". */
export function ago(at) {
  const seconds = (Date.now() - (at instanceof Date ? at.getTime() : at * 1000)) / 1000;
  if (seconds < 45) return "just now";
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
  if (seconds < 3600) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86400) return relative.format(-Math.round(seconds / 3600), "hour");
  return relative.format(-Math.round(seconds / 86400), "day");
}
