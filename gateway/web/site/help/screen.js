// What curators and readers should know.

import { html, useEffect } from "../vendor/preact-htm.js";
import { has, t } from "../language.js";
import { isProxied } from "../pictures.js";
import { PercentilePicture, RatePicture, Vignette } from "./drawings.js";

/** Return the keys of the texts about something, which are numbered. */
function keysOf(about) {
  const keys = [];
  for (let point = 1; has(`help.${about}.${point}`); point += 1) keys.push(`${about}.${point}`);
  return keys;
}

function Points({ about }) {
  return html`<ul>${keysOf(about).map((key) => html`<li><${Vignette} about=${key} /><span>${t(`help.${key}`)}</span></li>`)}</ul>`;
}

function Paragraphs({ about }) {
  return keysOf(about).map((key) => html`<p>${t(`help.${key}`)}</p>`);
}

export function HelpScreen({ parameters }) {
  const isAboutFigures = parameters.get("about") === "figures";
  useEffect(() => {
    if (isAboutFigures) document.querySelector("main [data-landing]").scrollIntoView();
  }, [isAboutFigures]);
  return html`<article class="help">
    <h1 tabindex="-1">${t("help.title")}</h1>
    <p class="lead">${t("help.lead")}</p>
    <div class="pair">
      <section><h2>${t("help.finds")}</h2><${Points} about="finds" /></section>
      <section><h2>${t("help.not")}</h2><${Points} about="not" /></section>
    </div>
    <section><h2 data-landing=${isAboutFigures ? "" : undefined}>${t("help.percentile")}</h2><${PercentilePicture} label=${t("help.percentile")} /><${Paragraphs} about="percentile" /></section>
    <section><h2>${t("help.rate")}</h2><${RatePicture} label=${t("help.rate")} /><${Paragraphs} about="rate" /></section>
    <section><h2>${t("help.tuning")}</h2><${Paragraphs} about="tuning" /></section>
    <section><h2>${t("help.privacy")}</h2><${Paragraphs} about="privacy" /><p>${t(isProxied ? "help.pictures.proxied" : "help.pictures.direct")}</p></section>
  </article>`;
}
