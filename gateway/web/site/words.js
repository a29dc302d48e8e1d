// What a percentile and a false match rate mean, in words and in figures.

import { number, t } from "./language.js";

const LIKENESS = [
  [99.9, "extremely"],
  [99, "very"],
  [95, "quite"],
  [80, "somewhat"],
  [0, "hardly"],
];
const CERTAINTY = [
  [0.01, "sure"],
  [0.05, "probable"],
  [0.25, "possible"],
  [1, "unclear"],
];

/** Return how alike two pictures are. percentile: 0 to 100, or null. */
export function likeness(percentile) {
  if (!isMeasured(percentile)) return t("likeness.unknown");
  return t(`likeness.${LIKENESS.find(([least]) => percentile >= least)?.[1] ?? "hardly"}`);
}

/** Return whether a figure of a result was measured. */
export function isMeasured(figure) {
  return figure !== null && figure !== undefined;
}

/** Return how sure a match is: "sure", "probable", "possible", "unclear" or "unknown". */
export function certainty(rate) {
  if (!isMeasured(rate)) return "unknown";
  return CERTAINTY.find(([most]) => rate <= most)?.[1] ?? "unclear";
}

/** Return the percentile in figures. It is rounded down, because 100 means that no pair is more alike. */
export function percentileFigure(percentile) {
  if (!isMeasured(percentile)) return t("figure.unknown");
  return t("figure.percent", { value: number(Math.floor(percentile * 100) / 100, { maximumFractionDigits: 2 }) });
}

export function rateFigure(rate) {
  if (!isMeasured(rate)) return t("figure.unknown");
  const percent = 100 * rate;
  if (percent < 0.1) return t("figure.under", { value: number(0.1) });
  return t("figure.percent", { value: number(percent, { maximumSignificantDigits: percent < 10 ? 2 : 3 }) });
}

/** Return the rate as "about 1 in 200". */
export function rateInWords(rate) {
  if (!isMeasured(rate)) return t("rate.unknown");
  if (rate < 0.001) return t("rate.rare");
  if (rate > 0.67) return t("rate.nearly_all");
  const inAll = 1 / rate;
  return t("rate.one_in", { count: number(inAll < 10 ? Math.round(inAll) : Number(inAll.toPrecision(1))) });
}
