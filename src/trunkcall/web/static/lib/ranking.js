/** How strong models are by votes on pairs: strengths of Bradley and Terry with their intervals. Pure. */

/** The mean of all scores, and the points of a strength of 1, so that 400 points are odds of ten to one. */
const MIDDLE = 1000;
const POINTS = 400 / Math.LN10;
/** Standard deviations to either side that hold 95 % of a normal distribution. */
const WIDE = 1.959964;
const MOST_STEPS = 100;
const CLOSE = 1e-10;

/**
 * The ranking that votes make: {models, pairs, counted, left}.
 *
 * votes: [{models: [left, right], winner: "left" | "right" | "tie" | "bothbad"}]; a tie is half a win for
 * each, and so is "both are bad", which says nothing about which of them is the better one. Votes on a model
 * and itself are left out.
 *
 * models: [{name, rank, score, low, high, battles, wins, losses, ties}], the strongest first; low and high:
 * the 95 % interval of the score; rank: one more than there are models that are surely stronger, as their
 * whole intervals are above this one's. pairs: Map of name to Map of name to {share, battles}, share being
 * the first one's part of the wins; counted, left: how many votes count, and how many do not.
 *
 * Each model begins with one tie against an imaginary one of middling strength. That alone keeps the score of
 * a model that has won all of its battles finite, and those of models that were never compared, not even
 * through others, on one scale. What is uncertain is a score's distance from the mean of all, which is 1000.
 */
export function ranking(votes) {
  const counting = votes.filter(({ models: [left, right] }) => left !== right);
  const names = [...new Set(counting.flatMap((vote) => vote.models))].sort();
  const place = new Map(names.map((name, index) => [name, index]));
  const tallies = names.map(() => ({ wins: 0, losses: 0, ties: 0 }));
  const won = square(names.length);
  for (const { models, winner } of counting) {
    const [left, right] = models.map((name) => place.get(name));
    const share = { left: 1, right: 0 }[winner] ?? 0.5;
    won[left][right] += share;
    won[right][left] += 1 - share;
    tallies[left][outcome(share)] += 1;
    tallies[right][outcome(1 - share)] += 1;
  }
  const { strengths, deviations } = fitted(won);
  const scored = names.map((name, index) => ({
    name,
    score: MIDDLE + POINTS * strengths[index],
    low: MIDDLE + POINTS * (strengths[index] - WIDE * deviations[index]),
    high: MIDDLE + POINTS * (strengths[index] + WIDE * deviations[index]),
    battles: Object.values(tallies[index]).reduce((sum, count) => sum + count, 0),
    ...tallies[index],
  }));
  scored.sort((a, b) => b.score - a.score || b.battles - a.battles);
  return {
    models: scored.map((one) => ({
      ...one,
      rank: 1 + scored.filter((other) => other.low > one.high).length,
    })),
    pairs: pairsOf(names, won),
    counted: counting.length,
    left: votes.length - counting.length,
  };
}

function outcome(share) {
  return share === 1 ? "wins" : share === 0 ? "losses" : "ties";
}

function pairsOf(names, won) {
  const row = (i) =>
    names.flatMap((other, j) => {
      const battles = won[i][j] + won[j][i];
      return battles > 0 ? [[other, { share: won[i][j] / battles, battles }]] : [];
    });
  return new Map(names.map((name, i) => [name, new Map(row(i))]));
}

/**
 * The likeliest strengths as distances from their mean, found by Newton's method, and the standard deviations
 * of these by the Fisher information there. won: how often each has won against each.
 */
function fitted(won) {
  let strengths = won.map(() => 0);
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const { gradient, information } = slopes(won, strengths);
    const inverse = inverted(information);
    const move = inverse.map((row) => dot(row, gradient));
    const largest = Math.max(0, ...move.map(Math.abs));
    // A step that is too long would overshoot; the likelihood has a single hill, so that short ones arrive too.
    const part = largest > 1 ? 1 / largest : 1;
    strengths = strengths.map((strength, index) => strength + part * move[index]);
    if (largest < CLOSE) break;
  }
  const covariance = inverted(slopes(won, strengths).information);
  const shared = covariance.map(mean);
  const common = mean(shared);
  const middle = mean(strengths);
  return {
    strengths: strengths.map((strength) => strength - middle),
    deviations: covariance.map((row, index) =>
      Math.sqrt(Math.max(0, row[index] - 2 * shared[index] + common)),
    ),
  };
}

/** Of the logarithm of the likelihood: its gradient, and its curvature with the sign turned. */
function slopes(won, strengths) {
  const gradient = [];
  const information = square(strengths.length);
  for (const [i, own] of strengths.entries()) {
    const alone = chance(own);
    gradient[i] = 0.5 - alone;
    information[i][i] += alone * (1 - alone);
    for (const [j, other] of strengths.entries()) {
      const battles = won[i][j] + won[j][i];
      if (battles === 0) continue;
      const expected = chance(own - other);
      const weight = battles * expected * (1 - expected);
      gradient[i] += won[i][j] - battles * expected;
      information[i][i] += weight;
      information[i][j] -= weight;
    }
  }
  return { gradient, information };
}

const chance = (difference) => 1 / (1 + Math.exp(-difference));
const square = (size) => Array.from({ length: size }, () => new Array(size).fill(0));
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

/**
 * The inverse of a matrix that is symmetric and positive definite, for which no order of rows is a bad one.
 */
function inverted(matrix) {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let pivot = 0; pivot < size; pivot += 1) {
    const scale = rows[pivot][pivot];
    rows[pivot] = rows[pivot].map((value) => value / scale);
    for (let i = 0; i < size; i += 1) {
      const factor = rows[i][pivot];
      if (i === pivot || factor === 0) continue;
      rows[i] = rows[i].map((value, j) => value - factor * rows[pivot][j]);
    }
  }
  return rows.map((row) => row.slice(size));
}
