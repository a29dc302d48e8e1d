// A result, large, beside the picture that was looked for.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { Icon } from "../interface.js";
import { t } from "../language.js";
import { pictureUrl } from "../pictures.js";
import { certainty, isMeasured, likenessWords, percentileFigure, rateFigure, rateInWords } from "../words.js";
import { Origin } from "./origin.js";
import { missingText, usePictureUrl } from "./query_picture.js";
import { Side } from "./side.js";
import { nameOf } from "./tile.js";
import { MOST_ZOOM, START, useView, zoomed } from "./view.js";

// Half the width of the slider's thumb: the middle of the thumb goes from one edge of the pictures to the other.
const THUMB = 8;
// Until its shape is known, a picture fills the frame.
const UNKNOWN_RATIO = 1000;

/** Return the size of an element in pixels. */
function useSize(element) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setSize({ width: contentRect.width, height: contentRect.height }));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return size;
}

/** Return where the wider one of the pictures begins and ends in the frame, in pixels. ratios: width / height of each. */
function edgesOf({ width, height }, ratios, { zoom, x }) {
  const half = (zoom * Math.min(width, height * Math.max(...ratios))) / 2;
  const middle = width * (0.5 + x);
  return [Math.max(0, middle - half), Math.min(width, middle + half)];
}

function rateSentence({ false_match_rate: rate }, isText) {
  if (isText) return t("compare.rate.text");
  if (!isMeasured(rate)) return t("compare.rate.unknown");
  return t("compare.rate.figure", { figure: rateFigure(rate), words: rateInWords(rate) });
}

function percentileSentence({ percentile }, isText) {
  if (!isMeasured(percentile)) return t("compare.likeness.unknown");
  return t(isText ? "compare.fit.figure" : "compare.likeness.figure", { figure: percentileFigure(percentile) });
}

export function Compare({ results, place, query, onPlace, onClose, onSimilar }) {
  const dialog = useRef(null);
  const { view, setView, handlers } = useView();
  const [isOver, setIsOver] = useState(false);
  const [swipe, setSwipe] = useState(50);
  const frame = useRef(null);
  const size = useSize(frame);
  const [ratios, setRatios] = useState({ query: UNKNOWN_RATIO, result: UNKNOWN_RATIO });
  const [left, right] = edgesOf(size, Object.values(ratios), view);
  const isText = query.kind === "text";
  const queryUrl = usePictureUrl(query);
  const result = results[place];
  const entry = safeUrl(result.repo_url);
  const name = nameOf(result);
  const sure = certainty(result.false_match_rate);

  useEffect(() => {
    dialog.current.showModal();
  }, []);
  useEffect(() => setView(START), [place]);

  const move = (by) => {
    const next = place + by;
    if (next >= 0 && next < results.length) onPlace(next);
  };
  const press = (event) => {
    const isField = event.target.matches("input");
    const action = {
      ArrowLeft: () => !isField && move(-1),
      ArrowRight: () => !isField && move(1),
      "+": () => setView((now) => zoomed(now, 1.4)),
      "-": () => setView((now) => zoomed(now, 1 / 1.4)),
      0: () => setView(START),
    }[event.key];
    action?.();
  };
  return html`<dialog class="compare" ref=${dialog} onClose=${onClose} onKeyDown=${press} aria-labelledby="compare-title">
    <header>
      <h2 id="compare-title">${t("compare.title", { place: place + 1, all: results.length })}</h2>
      <div class="tools">
        <button type="button" class="round" onClick=${() => move(-1)} disabled=${place === 0} aria-label=${t("compare.previous")}><${Icon} name="left" /></button>
        <button type="button" class="round" onClick=${() => move(1)} disabled=${place === results.length - 1} aria-label=${t("compare.next")}><${Icon} name="right" /></button>
        <span class="divider" aria-hidden="true"></span>
        <button type="button" class="round" onClick=${() => setView((now) => zoomed(now, 1 / 1.4))} disabled=${view.zoom === 1} aria-label=${t("compare.zoom_out")}><${Icon} name="minus" /></button>
        <button type="button" class="round" onClick=${() => setView((now) => zoomed(now, 1.4))} disabled=${view.zoom === MOST_ZOOM} aria-label=${t("compare.zoom_in")}><${Icon} name="plus" /></button>
        ${queryUrl &&
        html`<span class="divider" aria-hidden="true"></span>
          <button type="button" class="button quiet" aria-pressed=${isOver ? "true" : "false"} onClick=${() => setIsOver(!isOver)}>${t("compare.swipe")}</button>`}
        <span class="divider" aria-hidden="true"></span>
        <button type="button" class="round" onClick=${() => dialog.current.close()} aria-label=${t("close")}><${Icon} name="close" /></button>
      </div>
    </header>
    <div class="sides ${isOver ? "over-each-other" : ""}">
      <${Side} url=${queryUrl} missing=${isText ? query.text : t(missingText(query.kind, queryUrl))} title=${t(query.region ? "compare.query.part" : "compare.query")} alt=${t("query.alt")}
        region=${query.region} onRatio=${(ratio) => setRatios((now) => ({ ...now, query: ratio }))} ...${{ frame, view, handlers }} />
      <${Side} key=${result.image_url} url=${pictureUrl(query.collection, result, true)} missing=${t("result.no_picture")} title=${t("compare.result")} alt=${name}
        onRatio=${(ratio) => setRatios((now) => ({ ...now, result: ratio }))} ...${{ view, handlers }} clip=${isOver ? left + ((right - left) * swipe) / 100 : undefined} />
    </div>
    ${isOver &&
    html`<input class="swipe" type="range" min="0" max="100" value=${swipe} style=${{ width: `${right - left + 2 * THUMB}px`, "--left": `${left - THUMB}px` }} aria-label=${t("compare.swipe.label")} onInput=${(event) => setSwipe(event.target.valueAsNumber)} />`}
    <footer>
      <dl>
        <div><dt>${t("compare.rate")}</dt><dd><strong><span class="certainty ${sure}" aria-hidden="true"></span>${t(`certainty.${sure}`)}</strong> ${rateSentence(result, isText)}</dd></div>
        <div><dt>${t(isText ? "compare.fit" : "compare.likeness")}</dt><dd><strong>${likenessWords(result, isText)}</strong> ${percentileSentence(result, isText)}</dd></div>
      </dl>
      <p class="actions">
        ${entry
          ? html`<a class="button primary" href=${entry} target="_blank" rel="noopener noreferrer">${t("compare.entry")}<${Icon} name="entry" /><span class="hidden">, ${t("new_tab")}</span></a>`
          : html`<span class="plain">${result.repo_url}</span>`}
        <button type="button" class="button" onClick=${() => { dialog.current.close(); onSimilar(result); }}><${Icon} name="similar" />${t("result.similar")}</button>
        ${entry && html`<span class="faint address">${name}</span>`}
      </p>
      <${Origin} collection=${result.collection_id ?? query.collection} image=${result} />
    </footer>
  </dialog>`;
}
