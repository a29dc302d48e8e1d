// Drawings for the help: what is found and what is not.

import { html } from "../vendor/preact-htm.js";
import { t } from "../language.js";

/** A small landscape, in place of any picture. x, y: its corner; size: 1 is 48 × 36. */
function Landscape({ x, y, size = 1, className = "" }) {
  return html`<g class=${className} transform=${`translate(${x} ${y}) scale(${size})`}>
    <rect class="sky" width="48" height="36" rx="2" />
    <circle class="sun" cx="34" cy="10" r="5" />
    <path class="hill" d="M0 30l13-15 11 11 8-7 16 13v2a2 2 0 0 1-2 2H2a2 2 0 0 1-2-2z" />
  </g>`;
}

/** A coin. side: "head", "other head" or "tail". */
function Coin({ x, y, side }) {
  const drawn = {
    head: "M-2-9c6-2 9 3 7 7l2 3-3 1c0 4-2 5-5 4l-1 4M-2-9c-5 2-6 8-3 12v5",
    "other head": "M2-9c-6-2-9 3-7 7l-2 3 3 1c0 4 2 5 5 4l1 4M2-9c5 2 6 8 3 12v5",
    tail: "M0-10v18M-7 8H7M0-5c-5-4-8 0-8 3 4 0 6 1 8 4M0-5c5-4 8 0 8 3-4 0-6 1-8 4",
  }[side];
  return html`<g transform=${`translate(${x} ${y})`}><circle class="metal" r="17" stroke-width="2" /><path class="drawn" d=${drawn} /></g>`;
}

/** A jug, from the side or half turned. */
function Jug({ x, y, isTurned = false }) {
  const handle = isTurned ? "M6-8c7-1 8 10 1 12" : "M9-8c11-2 12 13 1 15";
  return html`<g transform=${`translate(${x} ${y})`}>
    <path class="clay" d="M-6-18H6l-1 6c8 5 9 22 2 28H-7c-7-6-6-23 2-28z" /><path class="drawn" d=${handle} />
  </g>`;
}

const DRAWINGS = {
  "finds.1": html`<${Landscape} x=${6} y=${12} /><${Landscape} x=${62} y=${8} size=${0.5} /><${Landscape} x=${92} y=${8} size=${0.5} className="grey" />
    <svg x="62" y="32" width="28" height="20" viewBox="14 4 28 20"><${Landscape} x=${0} y=${0} /></svg>`,
  "finds.2": html`<${Jug} x=${38} y=${31} /><${Jug} x=${84} y=${31} isTurned />`,
  "finds.3": html`<${Coin} x=${38} y=${30} side="head" /><${Coin} x=${84} y=${30} side="other head" />`,
  "not.1": html`<${Landscape} x=${22} y=${3} size=${1.5} /><rect class="cut" x="64" y="9" width="18" height="18" rx="2" />`,
  "not.2": html`<path class="words" d="M24 16h72M24 30h54M24 44h64" />`,
  "not.3": html`<${Coin} x=${38} y=${30} side="head" /><${Coin} x=${84} y=${30} side="head" />`,
};

/** The drawing of a point of the help. The text beside it says the same. */
export function Vignette({ about }) {
  return html`<svg class="vignette" viewBox="0 0 122 60" aria-hidden="true" focusable="false">${DRAWINGS[about]}</svg>`;
}

/** A scale from 0 to 100 with a mark at 99: a percentile. */
export function PercentilePicture({ label }) {
  return html`<svg class="drawing" viewBox="0 0 320 88" role="img" aria-label=${label}>
    <path class="area" d="M10 70C60 70 70 18 120 18s70 40 110 48 60 4 80 4z" />
    <path class="line" d="M10 70h300" />
    <path class="mark" d="M268 8v62" />
    <text x="262" y="20" text-anchor="end">${t("figure.percent", { value: 99 })}</text>
    <text x="274" y="20">${t("figure.percent", { value: 1 })}</text>
  </svg>`;
}

/** One hundred dots, two of them filled: a false match rate of 2 %. */
export function RatePicture({ label }) {
  const dots = Array.from({ length: 100 }, (_, index) => index);
  return html`<svg class="drawing" viewBox="0 0 320 88" role="img" aria-label=${label}>
    ${dots.map((index) => html`<circle cx=${12 + 15.5 * (index % 20)} cy=${12 + 16 * Math.floor(index / 20)} r="5" class=${index === 37 || index === 71 ? "dot marked" : "dot"} />`)}
  </svg>`;
}
