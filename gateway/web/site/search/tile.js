// One result: its picture, how alike and how sure it is, and what can be done with it. Thousands are scrolled through,
// so that it has few elements.

import { html } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { t } from "../language.js";
import { certainty, fullWords, isMeasured, percentileFigure, rateFigure, shortWords } from "../words.js";

// Up to these widths, in rem, there is no room for all words of the actions.
const MEDIUM = 17.5;
const NARROW = 11.25;

/** Return what a picture is called: its entry's URL without the scheme, or its text. */
export function nameOf(result) {
  const named = result.repo_url || result.image_url;
  return named.replace(/^https?:\/\/(www\.)?/i, "");
}

/** Return how many lines of figures at least one result has. isText: whether the results are of a description. */
export function linesOf(results, names, isText) {
  const some = (has) => (results.some(has) ? 1 : 0);
  const measured = some((one) => !isText && isMeasured(one.percentile)) + some((one) => isMeasured(one.false_match_rate));
  return measured + some((one) => one.views > 1) + (names ? 1 : 0);
}

/** Return the lines of figures of a result. names: of collections by id, where results come from several. */
function figuresOf(result, names, isText) {
  return [
    names && (names.get(result.collection_id) ?? result.collection_id),
    result.views > 1 && t("result.views", { n: result.views }),
    // The words have that of a description.
    !isText && isMeasured(result.percentile) && t("result.percentile", { figure: percentileFigure(result.percentile) }),
    isMeasured(result.false_match_rate) && t("result.rate", { figure: rateFigure(result.false_match_rate) }),
  ].filter(Boolean);
}

/** Return whether the text of a row is small, because one of its pictures is narrow. widths: in rem. */
export function isSmall(widths) {
  return widths.some((width) => width <= NARROW);
}

/** Return how much room the actions have. width: in rem. Container queries would cost a layout for each tile. */
function roomOf(width) {
  if (width <= NARROW) return "medium narrow";
  return width <= MEDIUM ? "medium" : "";
}

function Actions({ result, name, onSimilar, onExample }) {
  const entry = safeUrl(result.repo_url);
  return html`<p class="actions">
    ${entry
      ? html`<a class="entry" href=${entry} target="_blank" rel="noopener noreferrer" title=${name} aria-label=${`${t("result.entry")} ${name}, ${t("new_tab")}`}>${t("result.entry")}</a>`
      : html`<span class="plain" title=${result.repo_url}>${result.repo_url}</span>`}
    <button type="button" class="similar" onClick=${() => onSimilar(result)} title=${t("result.similar")} aria-label=${`${t("result.similar")}: ${name}`}><span>${t("result.similar")}</span></button>
    ${onExample &&
    ["more", "less"].map(
      (sign) => html`<button type="button" class=${sign} onClick=${() => onExample(sign, result)} title=${t(`result.${sign}`)} aria-label=${`${t(`result.${sign}`)}: ${name}`}></button>`,
    )}
  </p>`;
}

export function Tile({ result, picture, place, all, left, top, width, height, rem, hasSmallText, isShown, isText, names, onOpen, onSimilar, onExample }) {
  const name = nameOf(result);
  const sure = certainty(result.false_match_rate);
  const description = t("result.description", { place, words: fullWords(result, isText), name });
  return html`<li class="tile ${roomOf(width / rem)} ${hasSmallText ? "small" : ""}" aria-posinset=${place} aria-setsize=${all} style=${{ left: `${left}px`, top: `${top}px`, width: `${width}px`, "--picture": `${height}px` }}>
    <button class="picture" type="button" onClick=${() => onOpen(place - 1)} aria-haspopup="dialog">
      ${isShown && picture
        ? html`<img src=${picture} alt=${description} decoding="async" referrerpolicy="no-referrer" />`
        : html`<span class="missing"><span class="hidden">${description}</span><span class="name" aria-hidden="true">${name}</span><small>${t("result.no_picture")}</small></span>`}
    </button>
    <div class="caption">
      <p class="words" title=${sure === "unknown" ? undefined : t(`certainty.${sure}`)}>${sure !== "unknown" && html`<span class="certainty ${sure}" aria-hidden="true"></span>`}${shortWords(result, isText)}</p>
      <p class="figures">${figuresOf(result, names, isText).join("\n")}</p>
      <${Actions} ...${{ result, name, onSimilar, onExample }} />
    </div>
  </li>`;
}
