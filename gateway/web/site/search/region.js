// A part of the picture: drawn, moved and resized by pointer, finger and keys.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { Icon } from "../interface.js";
import { number, t } from "../language.js";

const SMALLEST = 0.04;
const STEP = 0.02;
const MIDDLE = { x: 0.25, y: 0.25, width: 0.5, height: 0.5 };
const CORNERS = ["nw", "ne", "sw", "se"];

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
const rounded = (value) => Math.round(value * 1e4) / 1e4;

/** Return the region within the picture. */
function within({ x, y, width, height }) {
  const [w, h] = [clamp(width, SMALLEST, 1), clamp(height, SMALLEST, 1)];
  return { x: rounded(clamp(x, 0, 1 - w)), y: rounded(clamp(y, 0, 1 - h)), width: rounded(w), height: rounded(h) };
}

function between(one, other) {
  const [x, y] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
  return within({ x, y, width: Math.abs(one.x - other.x), height: Math.abs(one.y - other.y) });
}

/** Read a region from the address: four fractions. Return null if it is none. */
export function regionOf(text) {
  const parts = (text ?? "").split(",").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isFinite(part))) return null;
  const [x, y, width, height] = parts;
  return within({ x, y, width, height });
}

export function regionText(region) {
  return region ? [region.x, region.y, region.width, region.height].join(",") : null;
}

/** Return the style of an element that covers a region of its parent. */
export function covering({ x, y, width, height }) {
  return { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` };
}

export function RegionDialog({ url, region: initial, onDone, onClose }) {
  const dialog = useRef(null);
  const area = useRef(null);
  const held = useRef(null);
  const [ratio, setRatio] = useState(null);
  const [region, setRegion] = useState(initial ?? MIDDLE);

  useEffect(() => {
    dialog.current.showModal();
  }, []);

  const at = (event) => {
    const box = area.current.getBoundingClientRect();
    return { x: clamp((event.clientX - box.left) / box.width, 0, 1), y: clamp((event.clientY - box.top) / box.height, 0, 1) };
  };
  const press = (event) => {
    if (event.button !== 0) return;
    const corner = event.target.dataset.corner;
    const point = at(event);
    area.current.setPointerCapture(event.pointerId);
    if (corner) {
      const opposite = {
        x: corner.includes("w") ? region.x + region.width : region.x,
        y: corner.includes("n") ? region.y + region.height : region.y,
      };
      held.current = { anchor: opposite };
    } else if (event.target.closest(".selection")) held.current = { from: point, start: region };
    else held.current = { anchor: point };
    event.preventDefault();
    area.current.querySelector(".selection").focus();
  };
  const move = (event) => {
    if (!held.current) return;
    const point = at(event);
    const { anchor, from, start } = held.current;
    setRegion(anchor ? between(anchor, point) : within({ ...start, x: start.x + point.x - from.x, y: start.y + point.y - from.y }));
  };
  const release = () => {
    held.current = null;
  };
  const key = (event) => {
    const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    setRegion((now) =>
      within(event.shiftKey ? { ...now, width: now.width + dx, height: now.height + dy } : { ...now, x: now.x + dx, y: now.y + dy }),
    );
  };
  const percent = (value) => number(Math.round(100 * value));
  const words = t("region.is", { x: percent(region.x), y: percent(region.y), width: percent(region.width), height: percent(region.height) });
  return html`<dialog class="region" ref=${dialog} onClose=${onClose} aria-labelledby="region-title">
    <header>
      <h2 id="region-title">${t("region.title")}</h2>
      <button type="button" class="round" onClick=${() => dialog.current.close()} aria-label=${t("close")}><${Icon} name="close" /></button>
    </header>
    <p class="faint" id="region-about">${t("region.about")}</p>
    <div class="board">
      <div
        class="area"
        ref=${area}
        style=${ratio ? { aspectRatio: String(ratio), width: `min(100%, calc((100dvh - 15rem) * ${ratio}))` } : { visibility: "hidden" }}
        onPointerDown=${press}
        onPointerMove=${move}
        onPointerUp=${release}
        onPointerCancel=${release}
      >
        <img src=${url} alt=${t("query.alt")} draggable=${false} referrerpolicy="no-referrer"
          onLoad=${(event) => setRatio(event.target.naturalWidth / event.target.naturalHeight)} />
        <div class="selection" tabindex="0" role="application" aria-roledescription=${t("region.title")} aria-label=${words} aria-describedby="region-about" style=${covering(region)} onKeyDown=${key}>
          ${CORNERS.map((corner) => html`<span class="corner ${corner}" data-corner=${corner}></span>`)}
        </div>
      </div>
    </div>
    <footer>
      <button type="button" class="button primary" onClick=${() => { onDone(region); dialog.current.close(); }}>${t("region.do")}</button>
      ${initial && html`<button type="button" class="button" onClick=${() => { onDone(null); dialog.current.close(); }}>${t("region.whole")}</button>`}
    </footer>
  </dialog>`;
}
