/** The share that is done, read from the words in which the server tells of a download or a start. */

const UNITS = { kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, bytes: 1 };
const SIZES = /([\d.]+) ?(kB|MB|GB|TB|bytes)? of (?:about )?([\d.]+) ?(kB|MB|GB|TB|bytes)\b/;
const SECONDS = /([\d.]+) of (?:about )?([\d.]+) s\b/;
const PERCENT = /([\d.]+) ?%/;
/** A start that takes longer than the last one did is nearly there, not done. */
const MOST = 0.99;

/** "1.2 GB of 4.7 GB", "loading for 3 of about 10 s" or "25 %" as a number from 0 to 1; null for no share. */
export function portion(words) {
  const percent = PERCENT.exec(words);
  if (percent) return bounded(Number(percent[1]) / 100);
  const sizes = SIZES.exec(words);
  if (sizes) return bounded(amount(sizes[1], sizes[2] ?? sizes[4]) / amount(sizes[3], sizes[4]));
  const seconds = SECONDS.exec(words);
  return seconds ? bounded(Number(seconds[1]) / Number(seconds[2])) : null;
}

const amount = (number, unit) => Number(number) * UNITS[unit];

function bounded(share) {
  return Number.isFinite(share) ? Math.min(MOST, Math.max(0, share)) : null;
}
