// What a percentile and a false match rate mean, in words and in figures.

import { number, t } from "./language.js";

const LIKENESS = [
  [99.9, "extremely"],
  [99, "very"],
  [95, "quite"],
  [80, "somewhat"],
  [-Infinity, "hardly"],
];
const CERTAINTY = [
  [0.01, "sure"],
  [0.05, "probable"],
  [0.25, "possible"],
  [1, "unclear"],
];
// How many of the words above say too much beside such a rate, and what is said instead.
const CAPS = { probable: [1, "very"], possible: [2, "quite"], unclear: [3, "only"] };
const MATCHES = new Set(["sure", "probable", "possible"]);

/** Return how alike a result and the picture are. The words never say more than the false match rate, where that was measured. */
function likeness({ percentile, false_match_rate: rate }) {
  if (!isMeasured(percentile)) return t("likeness.unknown");
  const place = LIKENESS.findIndex(([least]) => percentile >= least);
  const [count, most] = CAPS[certainty(rate)] ?? [0];
  return t(`likeness.${place < count ? most : LIKENESS[place][1]}`);
}

/** Return how well a picture fits a description, compared with other pictures: nothing else is known. */
function fit(percentile) {
  return isMeasured(percentile) ? t("likeness.fit", { figure: percentileFigure(percentile) }) : t("likeness.unknown");
}

/** Return how alike a result is. isText: whether it was found by a description. */
export function likenessWords(result, isText) {
  return isText ? fit(result.percentile) : likeness(result);
}

/** Return the main thing about a result in very few words: that it may be a match, or else how alike it is. */
export function shortWords(result, isText) {
  const sure = certainty(result.false_match_rate);
  return MATCHES.has(sure) ? t(`match.${sure}`) : likenessWords(result, isText);
}

/** Return the same in words that need no context. */
export function fullWords(result, isText) {
  const sure = certainty(result.false_match_rate);
  return MATCHES.has(sure) ? t(`certainty.${sure}`) : likenessWords(result, isText);
}

/** Return the lowest false match rate of some results, or null. The first result need not have it: see "all collections". */
export function lowestRate(results) {
  const rates = results.map((result) => result.false_match_rate).filter(isMeasured);
  return rates.length ? Math.min(...rates) : null;
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
  return t("figure.percent", { value: number(percent, { maximumSignificantDigits: 2 }) });
}

/** Return the rate as "about 1 in 200", or "about 6 in 10". */
export function rateInWords(rate) {
  if (!isMeasured(rate)) return t("rate.unknown");
  if (rate < 0.001) return t("rate.rare");
  if (rate > 0.95) return t("rate.nearly_all");
  if (rate > 0.35) return t("rate.in_ten", { count: number(Math.min(9, Math.round(10 * rate))) });
  const inAll = 1 / rate;
  return t("rate.one_in", { count: number(inAll < 10 ? Math.round(inAll) : Number(inAll.toPrecision(1))) });
}
