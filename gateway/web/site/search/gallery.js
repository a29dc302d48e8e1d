// The results as a justified gallery. A row is added when the shapes of its pictures are known, and never moves again.

import { Component, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { Spinner } from "../interface.js";
import { t } from "../language.js";
import { pictureUrl } from "../pictures.js";
import { here } from "../visits.js";
import { rowsOf, rowsWithin } from "./layout.js";
import { useShapes } from "./ratios.js";
import { isSmall, linesOf, Tile } from "./tile.js";

const STEP = 24;
// How far beyond the visible part rows are kept, and pictures loaded, in pixels.
const KEPT = 1000;
const AHEAD = 1600;
// The text below every picture: words, actions, and the space between them.
const LINES = 2.6;
const LINE_REM = 1.4;

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
      this.props.rem !== next.rem ||
      row.widths.length !== next.row.widths.length ||
      row.widths.some((width, index) => width !== next.row.widths[index]) ||
      !results.slice(row.first, row.first + row.widths.length).every(same)
    );
  }

  render({ row, rem, results, urls, shapes, isText, names, onOpen, onSimilar, onExample }) {
    const hasSmallText = isSmall(row.widths.map((width) => width / rem));
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
        rem=${rem}
        hasSmallText=${hasSmallText}
        isShown=${shapes[place].isShown}
        isText=${isText}
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

/** Return the size of the text in pixels, which visitors can change. */
function remInPixels() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize);
}

/** Return the first and the last row that are near what is seen. Rows far away are not in the page. */
function useVisible(list, rows) {
  const [range, setRange] = useState([0, 0]);
  // Rows are added below, so the place of the list stays. To ask for it then would lay out the page once more.
  const above = useRef(null);
  useLayoutEffect(() => {
    let isQueued = false;
    const show = () => {
      const [first, last] = rowsWithin(rows, above.current - KEPT, above.current + innerHeight + KEPT);
      setRange((now) => (now[0] === first && now[1] === last ? now : [first, last]));
    };
    const look = () => {
      isQueued = false;
      above.current = -list.current.getBoundingClientRect().top;
      show();
    };
    const later = () => {
      if (!isQueued) requestAnimationFrame(look);
      isQueued = true;
    };
    if (above.current === null) look();
    else show();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [rows]);
  return range;
}

export function Gallery({ collection, results, hasMore = false, isText = false, names = null, language, onOpen, onSimilar, onExample, onEnd }) {
  const list = useRef(null);
  const end = useRef(null);
  const width = useWidth(list);
  const [wanted, setWanted] = useState(here().wanted ?? STEP);
  useEffect(() => {
    here().wanted = wanted;
  }, [wanted]);
  const [focused, setFocused] = useState(null);
  const urls = useMemo(() => results.map((result) => pictureUrl(collection, result)), [collection, results]);
  const shapes = useShapes(urls, wanted);
  const isLast = shapes.length >= urls.length && !hasMore;
  const gap = width < 480 ? 10 : 16;
  const rem = useMemo(remInPixels, [width]);
  const caption = Math.round((LINES + linesOf(results, names, isText)) * LINE_REM * rem);
  const rows = useMemo(() => {
    const ratios = shapes.map((shape) => shape.ratio);
    return width ? rowsOf(ratios, { width, height: heightFor(width), gap, caption, isLast }) : [];
  }, [urls, shapes.length, width, caption, isLast]);
  const [first, last] = useVisible(list, rows);
  const isNear = (row, at) => at >= first && at <= last;
  // The keyboard must not lose its place.
  const hasFocus = (row) => focused !== null && focused >= row.first && focused < row.first + row.widths.length;
  const follow = (event) => setFocused(event.type === "focusin" ? event.target.closest(".tile").getAttribute("aria-posinset") - 1 : null);
  const isWaiting = shapes.length < Math.min(wanted, urls.length);
  const bottom = rows.at(-1);
  const height = bottom ? bottom.top + bottom.height + caption : 0;

  useEffect(() => {
    if (isWaiting) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        if (wanted < urls.length) setWanted(wanted + STEP);
        else onEnd?.();
      },
      { rootMargin: `${AHEAD}px` },
    );
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [isWaiting, wanted, urls, onEnd]);

  return html`<div class="gallery">
    <ol class="rows" ref=${list} aria-label=${t("results")} onfocusin=${follow} onfocusout=${follow} style=${{ height: `${height}px`, "--caption": `${caption}px` }}>
      ${rows.filter((row, at) => isNear(row, at) || hasFocus(row)).map((row) => html`<${Row} key=${row.first} ...${{ row, rem, results, urls, shapes, isText, names, language, onOpen, onSimilar, onExample }} />`)}
    </ol>
    <div ref=${end} class="end" aria-hidden="true"></div>
    ${hasMore && html`<${Spinner} key=${height} label=${t("results.more")} />`}
  </div>`;
}
