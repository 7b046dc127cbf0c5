/** What a key may use and has used, and whether it is good by now; pure. */

const DAY_SECONDS = 86_400;
const SOON_SECONDS = 7 * DAY_SECONDS;

/** Limits whose use is counted, with the names of both in a key's view. */
const BUDGETS = [
  { name: "tokens_per_day", used: "tokens_today" },
  { name: "tokens_per_month", used: "tokens_this_month" },
  { name: "money_per_day", used: "money_today" },
  { name: "money_per_month", used: "money_this_month" },
];

/** Limits that hold for each minute, of which nothing is told. */
const PACES = ["requests_per_minute", "tokens_per_minute"];

/** The budgets of a key: [{name, used, most, share}], share from 0 to 1; only those that it has. */
export function budgets(view) {
  return BUDGETS.filter(({ name }) => view.entry[name] !== null).map(({ name, used }) => {
    const most = view.entry[name];
    return { name, used: view[used], most, share: most > 0 ? Math.min(1, view[used] / most) : 1 };
  });
}

/** The limits per minute that it has: [{name, most}]. */
export function paces(view) {
  return PACES.filter((name) => view.entry[name] !== null).map((name) => ({ name, most: view.entry[name] }));
}

/** What it has used without a budget for it: [{name, used}] of tokens and money, today and this month. */
export function uses(view) {
  return BUDGETS.map(({ name, used }) => ({ name: used, used: view[used], isMoney: name.startsWith("money") }));
}

/** "good", "disabled", "expired", "used_up" (of a budget) or "expires_soon". now: unix seconds. */
export function conditionOf(view, now) {
  const expires = view.entry.expires_at;
  if (view.disabled) return "disabled";
  if (expires !== null && expires <= now) return "expired";
  if (budgets(view).some((one) => one.share >= 1)) return "used_up";
  return expires !== null && expires - now < SOON_SECONDS ? "expires_soon" : "good";
}

/** The moment (unix seconds) at which a budget begins anew, in UTC. */
export function renewal(name, now) {
  const date = new Date(now * 1000);
  return name.endsWith("_per_month")
    ? Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1) / 1000
    : (Math.floor(now / DAY_SECONDS) + 1) * DAY_SECONDS;
}
