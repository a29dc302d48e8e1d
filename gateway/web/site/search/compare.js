// A result, large, beside the picture that was looked for.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { Icon } from "../interface.js";
import { t } from "../language.js";
import { pictureUrl } from "../pictures.js";
import { certainty, likeness, percentileFigure, rateFigure, rateInWords } from "../words.js";
import { nameOf } from "./gallery.js";
import { usePictureUrl } from "./query_picture.js";

const MOST_ZOOM = 8;
const START = { zoom: 1, x: 0, y: 0 };

function zoomed(view, factor) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  return bounded({ ...view, zoom });
}

/** Keep the middle of the picture within the frame. x, y: the shift in fractions of the frame. */
function bounded({ zoom, x, y }) {
  const most = (zoom - 1) / 2;
  return { zoom, x: Math.min(most, Math.max(-most, x)), y: Math.min(most, Math.max(-most, y)) };
}

/** Both pictures move together: by wheel, pointer and keys. */
function useView() {
  const [view, setView] = useState(START);
  const held = useRef(null);
  const handlers = {
    onWheel: (event) => {
      event.preventDefault();
      setView((now) => zoomed(now, event.deltaY < 0 ? 1.2 : 1 / 1.2));
    },
    onPointerDown: (event) => {
      if (event.button !== 0) return;
      held.current = { x: event.clientX, y: event.clientY };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      if (!held.current) return;
      const { clientWidth, clientHeight } = event.currentTarget;
      const [dx, dy] = [(event.clientX - held.current.x) / clientWidth, (event.clientY - held.current.y) / clientHeight];
      held.current = { x: event.clientX, y: event.clientY };
      setView((now) => bounded({ ...now, x: now.x + dx, y: now.y + dy }));
    },
    onPointerUp: () => {
      held.current = null;
    },
    onPointerCancel: () => {
      held.current = null;
    },
  };
  return { view, setView, handlers };
}

function Side({ url, title, alt, view, handlers, clip }) {
  const transform = `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.zoom})`;
  const frame = useRef(null);
  // Preact would listen passively, and the page would scroll.
  useEffect(() => {
    const element = frame.current;
    element.addEventListener("wheel", handlers.onWheel, { passive: false });
    return () => element.removeEventListener("wheel", handlers.onWheel);
  }, []);
  const { onWheel: _, ...pointer } = handlers;
  return html`<figure class="side" style=${clip === undefined ? {} : { clipPath: `inset(0 0 0 ${clip}%)` }}>
    <figcaption>${title}</figcaption>
    <div class="frame" ref=${frame} ...${pointer}>
      ${url
        ? html`<img src=${url} alt=${alt} draggable=${false} referrerpolicy="no-referrer" style=${{ transform }} />`
        : html`<span class="missing">${t("query.no_preview")}</span>`}
    </div>
  </figure>`;
}

export function Compare({ results, place, query, onPlace, onClose, onSimilar }) {
  const dialog = useRef(null);
  const { view, setView, handlers } = useView();
  const [isOver, setIsOver] = useState(false);
  const [swipe, setSwipe] = useState(50);
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
      <${Side} url=${queryUrl} title=${t("compare.query")} alt=${t("query.alt")} ...${{ view, handlers }} />
      <${Side} key=${result.image_url} url=${pictureUrl(query.collection, result, true)} title=${t("compare.result")} alt=${name} ...${{ view, handlers }} clip=${isOver ? swipe : undefined} />
    </div>
    ${isOver &&
    html`<input class="swipe" type="range" min="0" max="100" value=${swipe} aria-label=${t("compare.swipe.label")} onInput=${(event) => setSwipe(event.target.valueAsNumber)} />`}
    <footer>
      <dl>
        <div><dt>${t("compare.likeness")}</dt><dd><strong>${likeness(result.percentile)}</strong> ${t("compare.likeness.figure", { figure: percentileFigure(result.percentile) })}</dd></div>
        <div><dt>${t("compare.rate")}</dt><dd><strong><span class="certainty ${sure}" aria-hidden="true"></span>${t(`certainty.${sure}`)}</strong> ${sure === "unknown" ? t("compare.rate.unknown") : t("compare.rate.figure", { figure: rateFigure(result.false_match_rate), words: rateInWords(result.false_match_rate) })}</dd></div>
      </dl>
      <p class="actions">
        ${entry
          ? html`<a class="button primary" href=${entry} target="_blank" rel="noopener noreferrer">${t("compare.entry")}<${Icon} name="entry" /><span class="hidden">, ${t("new_tab")}</span></a>`
          : html`<span class="plain">${result.repo_url}</span>`}
        <button type="button" class="button" onClick=${() => { dialog.current.close(); onSimilar(result); }}><${Icon} name="similar" />${t("result.similar")}</button>
        ${entry && html`<span class="faint address">${name}</span>`}
      </p>
    </footer>
  </dialog>`;
}
