// What curators and readers should know.

import { html } from "../vendor/preact-htm.js";
import { has, t } from "../language.js";
import { isProxied } from "../pictures.js";

function Points({ about }) {
  const keys = [];
  for (let point = 1; has(`${about}.${point}`); point += 1) keys.push(`${about}.${point}`);
  return html`<ul>${keys.map((key) => html`<li>${t(key)}</li>`)}</ul>`;
}

function Paragraphs({ about }) {
  const keys = [];
  for (let point = 1; has(`${about}.${point}`); point += 1) keys.push(`${about}.${point}`);
  return keys.map((key) => html`<p>${t(key)}</p>`);
}

/** A scale from 0 to 100 with a mark at 99: a percentile. */
function PercentilePicture() {
  return html`<svg class="drawing" viewBox="0 0 320 88" role="img" aria-label=${t("help.percentile")}>
    <path class="area" d="M10 70C60 70 70 18 120 18s70 40 110 48 60 4 80 4z" />
    <path class="line" d="M10 70h300" />
    <path class="mark" d="M268 8v62" />
    <text x="262" y="20" text-anchor="end">99 %</text>
    <text x="274" y="20">1 %</text>
  </svg>`;
}

/** One hundred dots, two of them filled: a false match rate of 2 %. */
function RatePicture() {
  const dots = Array.from({ length: 100 }, (_, index) => index);
  return html`<svg class="drawing" viewBox="0 0 320 88" role="img" aria-label=${t("help.rate")}>
    ${dots.map((index) => html`<circle cx=${12 + 15.5 * (index % 20)} cy=${12 + 16 * Math.floor(index / 20)} r="5" class=${index === 37 || index === 71 ? "dot marked" : "dot"} />`)}
  </svg>`;
}

export function HelpScreen() {
  return html`<article class="help">
    <h1 tabindex="-1">${t("help.title")}</h1>
    <p class="lead">${t("help.lead")}</p>
    <div class="pair">
      <section><h2>${t("help.finds")}</h2><${Points} about="help.finds" /></section>
      <section><h2>${t("help.not")}</h2><${Points} about="help.not" /></section>
    </div>
    <section><h2>${t("help.percentile")}</h2><${PercentilePicture} /><${Paragraphs} about="help.percentile" /></section>
    <section><h2>${t("help.rate")}</h2><${RatePicture} /><${Paragraphs} about="help.rate" /></section>
    <section><h2>${t("help.tuning")}</h2><${Paragraphs} about="help.tuning" /></section>
    <section><h2>${t("help.privacy")}</h2><${Paragraphs} about="help.privacy" /><p>${t(isProxied ? "help.pictures.proxied" : "help.pictures.direct")}</p></section>
  </article>`;
}
