/** What happened in the last ten minutes, in steps of five seconds: rates, levels and times until the first token. */

export const STEP_MS = 5000;
export const STEPS = 120;

/** So many complete steps, and the one that runs, are what "now" stands for. */
const NOW_STEPS = 2;
/** So many of the last steps have enough first tokens to tell their median. */
const FIRST_STEPS = 12;
const MOST_FIRSTS = 400;

const stepOf = (at) => Math.floor(at / STEP_MS);

/**
 * Sums by step and model; moments are ms of the server's clock. Fields are what its writer likes: "requests", "tokens",
 * "failed"; a level, such as how many run, is told as its seconds: three that run for two seconds are six. Then each of
 * them is told again as so much per second.
 */
export class Recent {
  /** since: the moment from which on all is known. */
  constructor(since) {
    this.since = since;
    /** Fields that are known only from a later moment on. */
    this.sinceOf = {};
    this._steps = new Map();
  }

  /** Add an amount that came evenly between two moments, which may be the same one. */
  add(model, field, amount, from, to = from) {
    if (!(amount > 0)) return;
    const first = stepOf(from);
    const last = to > from ? Math.ceil(to / STEP_MS) - 1 : first;
    for (let step = first; step <= last; step += 1) {
      const overlap = Math.min(to, (step + 1) * STEP_MS) - Math.max(from, step * STEP_MS);
      const sums = this._of(step, model).sums;
      sums[field] = (sums[field] ?? 0) + (to > from ? (amount * overlap) / (to - from) : amount);
    }
  }

  /** Note a time until the first token, which came at this moment. */
  addFirst(model, ms, at) {
    const { firsts } = this._of(stepOf(at), model);
    if (firsts.length < MOST_FIRSTS) firsts.push(ms);
  }

  /** Forget what is older than is shown. */
  forget(now) {
    const oldest = stepOf(now) - STEPS;
    for (const step of this._steps.keys()) if (step < oldest) this._steps.delete(step);
  }

  /** So much per second in each complete step, the oldest first; null where it is not known. model: null for all. */
  rates(field, now, model = null) {
    return this.sums(field, now, model).map((sum) => (sum === null ? null : (sum * 1000) / STEP_MS));
  }

  /** The sum in each of the complete steps. */
  sums(field, now, model = null) {
    return this._each(now, (step) => this._sum(field, step, model), this.sinceOf[field]);
  }

  /** The sum over all of the ten minutes, with the step that runs. */
  total(field, now, model = null) {
    const last = stepOf(now);
    let sum = 0;
    for (let step = last - STEPS; step <= last; step += 1) sum += this._sum(field, step, model);
    return sum;
  }

  /** So much per second in the last seconds; null while it is not known. */
  latest(field, now, model = null) {
    const last = stepOf(now);
    const from = Math.max((last - NOW_STEPS) * STEP_MS, this.since);
    if (now - from < 1000) return null;
    let sum = 0;
    for (let step = stepOf(from); step <= last; step += 1) sum += this._sum(field, step, model);
    return (sum * 1000) / (now - from);
  }

  /** The time until the first token that this share of requests did not exceed, in each step; null where none came. */
  firsts(share, now, model = null) {
    return this._each(now, (step) => percentile(this._firsts(step, step, model), share));
  }

  /** The same over the last minute. */
  latestFirst(share, now, model = null) {
    const last = stepOf(now);
    return percentile(this._firsts(last - FIRST_STEPS, last, model), share);
  }

  /** All models that did something. */
  models() {
    return [...new Set([...this._steps.values()].flatMap((models) => [...models.keys()]))];
  }

  _of(step, model) {
    let models = this._steps.get(step);
    if (!models) this._steps.set(step, (models = new Map()));
    let found = models.get(model);
    if (!found) models.set(model, (found = { sums: {}, firsts: [] }));
    return found;
  }

  _each(now, tell, since = this.since) {
    const last = stepOf(now);
    const known = stepOf(Math.max(since, this.since));
    return Array.from({ length: STEPS }, (_, at) => {
      const step = last - STEPS + at;
      return step < known ? null : tell(step);
    });
  }

  _some(step, model) {
    const models = this._steps.get(step);
    if (!models) return [];
    return model === null ? [...models.values()] : [models.get(model)].filter(Boolean);
  }

  _sum(field, step, model) {
    return this._some(step, model).reduce((sum, one) => sum + (one.sums[field] ?? 0), 0);
  }

  _firsts(from, to, model) {
    const found = [];
    for (let step = from; step <= to; step += 1) {
      for (const one of this._some(step, model)) found.push(...one.firsts);
    }
    return found;
  }
}

/** The smallest of the numbers that this share of them does not exceed; null of none. */
export function percentile(numbers, share) {
  if (!numbers.length) return null;
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

/** Put in what a request's story tells of the past, up to `now`: as GET /admin/requests tells it. */
export function addStory(recent, story, now) {
  const opened = story.opened_at * 1000;
  const end = Math.min(now, opened + (story.total_ms ?? 0));
  const granted = Math.min(end, opened + (story.queue_ms ?? story.total_ms ?? 0));
  const first = story.first_token_ms === null ? granted : Math.min(end, opened + story.first_token_ms);
  const { model } = story;
  recent.add(model, "waiting", (granted - opened) / 1000, opened, granted);
  recent.add(model, "running", (end - granted) / 1000, granted, end);
  recent.add(model, "tokens", story.completion_tokens, first, end);
  if (story.state !== "ended") return;
  recent.add(model, "requests", 1, end);
  if (hasFailed(story)) recent.add(model, "failed", 1, end);
}

/**
 * Put in sums by model and error, as GET /admin/usage tells them, of requests that came between two moments. How many
 * waited is not in them.
 */
export function addUsage(recent, rows, from, to) {
  for (const row of rows) {
    recent.add(row.model, "requests", row.requests - row.open, from, to);
    recent.add(row.model, "tokens", row.completion_tokens, from, to);
    recent.add(row.model, "running", ((row.mean_total_ms ?? 0) * row.requests) / 1000, from, to);
    if (hasFailed(row)) recent.add(row.model, "failed", row.requests, from, to);
  }
}

/** Whether a request failed; a client that left is no failure. */
export function hasFailed(story) {
  return story.error !== "" && story.error !== "cancelled";
}

/** What two looks at GET /admin/status say of the time between them; from, to: their moments. */
export function addActivity(recent, before, after, from, to) {
  const earlier = new Map(before.models.map((one) => [one.name, one]));
  for (const one of after.models) {
    const was = earlier.get(one.name);
    const seconds = (to - from) / 1000;
    recent.add(one.name, "waiting", one.waiting * seconds, from, to);
    recent.add(one.name, "running", one.running * seconds, from, to);
    if (!was) continue;
    recent.add(one.name, "tokens", one.completion_tokens - was.completion_tokens, from, to);
    recent.add(one.name, "requests", one.requests - was.requests, from, to);
    recent.add(one.name, "failed", one.failed - was.failed, from, to);
  }
}

/**
 * A scale for values up to `most`: {top, marks}, with two to five marks from 0 to the top that are read easily. whole:
 * without fractions.
 */
export function scale(most, wholeOnly = false) {
  if (!(most > 0)) return { top: 1, marks: [0, 1] };
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough * 0.999999);
  let step = factor * power;
  if (wholeOnly) step = Math.max(1, Math.ceil(step));
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return {
    top: count * step,
    marks: Array.from({ length: count + 1 }, (_, at) => Number((at * step).toPrecision(12))),
  };
}
