/** Which two models meet in a battle. Pure. */

/**
 * Two different ones of these names, each pair and each order as likely as any other; the only one twice
 * where there is one. random(): a number from 0 to 1, less than 1.
 */
export function drawPair(names, random = Math.random) {
  if (names.length < 2) return [names[0], names[0]];
  const first = Math.floor(random() * names.length);
  const other = Math.floor(random() * (names.length - 1));
  return [names[first], names[other < first ? other : other + 1]];
}
