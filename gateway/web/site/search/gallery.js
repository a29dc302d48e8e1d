// The results as a justified gallery. A row is added when the shapes of its pictures are known, and never moves again.

import { Component, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { Icon, Spinner } from "../interface.js";
import { t } from "../language.js";
import { pictureUrl } from "../pictures.js";
import { certainty, isMeasured, likeness, percentileFigure, rateFigure, rateInWords } from "../words.js";
import { rowsOf, rowsWithin } from "./layout.js";
import { useShapes } from "./ratios.js";

const STEP = 24;
// How far beyond the visible part rows are kept, in pixels.
const MARGIN = 1200;
// The text below every picture: words, actions, and the space between them.
const LINES = 2.6;
const LINE_REM = 1.4;

/** Return what a picture is called: its entry's URL without the scheme, or its text. */
export function nameOf(result) {
  const named = result.repo_url || result.image_url;
  return named.replace(/^https?:\/\/(www\.)?/i, "");
}

function Tile({ result, picture, place, all, left, top, width, height, isShown, names, onOpen, onSimilar, onExample }) {
  const entry = safeUrl(result.repo_url);
  const name = nameOf(result);
  const sure = certainty(result.false_match_rate);
  const description = t("result.description", { place, likeness: likeness(result.percentile), name });
  return html`<li class="tile" aria-posinset=${place} aria-setsize=${all} style=${{ left: `${left}px`, top: `${top}px`, width: `${width}px`, "--picture": `${height}px` }}>
    <button class="picture" type="button" onClick=${() => onOpen(place - 1)} aria-haspopup="dialog">
      ${isShown && picture
        ? html`<img src=${picture} alt=${description} decoding="async" referrerpolicy="no-referrer" />`
        : html`<span class="missing">${description}<small>${t("result.no_picture")}</small></span>`}
    </button>
    <div class="caption">
      <p class="words">
        ${sure !== "unknown" && html`<span class="certainty ${sure}" title=${t(`certainty.${sure}`)}></span>`}
        ${likeness(result.percentile)}${sure !== "unknown" && html`<span class="hidden">. ${t(`certainty.${sure}`)}</span>`}
      </p>
      ${names && html`<p class="figures">${names.get(result.collection_id)}</p>`}
      ${result.views > 1 && html`<p class="figures">${t("result.views", { n: result.views })}</p>`}
      ${isMeasured(result.percentile) &&
      html`<p class="figures" title=${t("result.percentile.title")}>${t("result.percentile", { figure: percentileFigure(result.percentile) })}</p>`}
      ${isMeasured(result.false_match_rate) &&
      html`<p class="figures" title=${rateInWords(result.false_match_rate)}>${t("result.rate", { figure: rateFigure(result.false_match_rate) })}</p>`}
      <p class="actions">
        ${entry
          ? html`<a href=${entry} target="_blank" rel="noopener noreferrer" title=${name}><${Icon} name="entry" /><span>${t("result.entry")}</span><span class="hidden"> ${name}, ${t("new_tab")}</span></a>`
          : html`<span class="plain" title=${result.repo_url}>${result.repo_url}</span>`}
        <button type="button" class="quiet" onClick=${() => onSimilar(result)} title=${t("result.similar")} aria-label=${`${t("result.similar")}: ${name}`}>
          <${Icon} name="similar" /><span>${t("result.similar")}</span>
        </button>
        ${onExample &&
        ["more", "less"].map(
          (sign) => html`<button type="button" class="quiet sign" onClick=${() => onExample(sign, result)} title=${t(`result.${sign}`)} aria-label=${`${t(`result.${sign}`)}: ${name}`}>
            <${Icon} name=${sign === "more" ? "plus" : "minus"} />
          </button>`,
        )}
      </p>
    </div>
  </li>`;
}

// Each row changes only with its own pictures.
class Row extends Component {
  shouldComponentUpdate(next) {
    const { row, results, language, onOpen, onExample } = this.props;
    const same = (one, index) => one === next.results[next.row.first + index];
    return (
      language !== next.language ||
      onOpen !== next.onOpen ||
      onExample !== next.onExample ||
      row.first !== next.row.first ||
      row.top !== next.row.top ||
      row.height !== next.row.height ||
      row.widths.length !== next.row.widths.length ||
      row.widths.some((width, index) => width !== next.row.widths[index]) ||
      !results.slice(row.first, row.first + row.widths.length).every(same)
    );
  }

  render({ row, results, urls, shapes, names, onOpen, onSimilar, onExample }) {
    return row.widths.map((width, index) => {
      const place = row.first + index;
      return html`<${Tile}
        key=${results[place].image_id ?? place}
        result=${results[place]}
        picture=${urls[place]}
        place=${place + 1}
        all=${results.length}
        left=${row.lefts[index]}
        top=${row.top}
        width=${width}
        height=${row.height}
        isShown=${shapes[place].isShown}
        names=${names}
        onOpen=${onOpen}
        onSimilar=${onSimilar}
        onExample=${onExample}
      />`;
    });
  }
}

function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    setWidth(element.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

function heightFor(width) {
  if (width < 480) return 165;
  return width < 1800 ? 210 : Math.min(340, 130 + width / 22);
}

/** Return how many lines of figures at least one result has. */
function linesOf(results, names) {
  const some = (has) => (results.some(has) ? 1 : 0);
  const measured = some((one) => isMeasured(one.percentile)) + some((one) => isMeasured(one.false_match_rate));
  return measured + some((one) => one.views > 1) + (names ? 1 : 0);
}

/** Return the height of the text below a picture, in pixels. */
function captionHeight(lines) {
  return Math.round(lines * LINE_REM * parseFloat(getComputedStyle(document.documentElement).fontSize));
}

/** Return the first and the last row that are near what is seen. Rows far away are not in the page. */
function useVisible(list, rows) {
  const [range, setRange] = useState([0, 0]);
  useLayoutEffect(() => {
    let isQueued = false;
    const look = () => {
      isQueued = false;
      const above = -list.current.getBoundingClientRect().top;
      const [first, last] = rowsWithin(rows, above - MARGIN, above + innerHeight + MARGIN);
      setRange((now) => (now[0] === first && now[1] === last ? now : [first, last]));
    };
    const later = () => {
      if (!isQueued) requestAnimationFrame(look);
      isQueued = true;
    };
    look();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [rows]);
  return range;
}

export function Gallery({ collection, results, hasMore = false, names = null, language, onOpen, onSimilar, onExample, onEnd }) {
  const list = useRef(null);
  const end = useRef(null);
  const width = useWidth(list);
  const [wanted, setWanted] = useState(STEP);
  const urls = useMemo(() => results.map((result) => pictureUrl(collection, result)), [collection, results]);
  const shapes = useShapes(urls, wanted);
  const isLast = shapes.length >= urls.length && !hasMore;
  const gap = width < 480 ? 10 : 16;
  const lines = LINES + linesOf(results, names);
  const rows = useMemo(() => {
    const ratios = shapes.map((shape) => shape.ratio);
    return width ? rowsOf(ratios, { width, height: heightFor(width), gap, caption: captionHeight(lines), isLast }) : [];
  }, [urls, shapes.length, width, lines, isLast]);
  const [first, last] = useVisible(list, rows);
  const isWaiting = shapes.length < Math.min(wanted, urls.length);
  const bottom = rows.at(-1);
  const height = bottom ? bottom.top + bottom.height + captionHeight(lines) : 0;

  useEffect(() => {
    if (isWaiting) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        if (wanted < urls.length) setWanted(wanted + STEP);
        else onEnd?.();
      },
      { rootMargin: `${MARGIN}px` },
    );
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [isWaiting, wanted, urls, onEnd]);

  return html`<div class="gallery">
    <ol class="rows" ref=${list} aria-label=${t("results")} style=${{ height: `${height}px`, "--caption": `${captionHeight(lines)}px` }}>
      ${rows.slice(first, last + 1).map((row) => html`<${Row} key=${row.first} ...${{ row, results, urls, shapes, names, language, onOpen, onSimilar, onExample }} />`)}
    </ol>
    <div ref=${end} class="end" aria-hidden="true"></div>
    ${hasMore && html`<${Spinner} key=${height} label=${t("results.more")} />`}
  </div>`;
}
