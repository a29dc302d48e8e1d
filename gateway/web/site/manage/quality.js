// What the finetune brought, in words for people without a course in retrieval.

import { html } from "../vendor/preact-htm.js";
import { number, t } from "../language.js";
import { measured } from "./measured.js";
import { ScorePlot } from "./score_plot.js";

function Bar({ value, className }) {
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width="100" height="10" /><rect class=${className} width=${100 * value} height="10" />
  </svg>`;
}

function Kind({ kind, before, after }) {
  const share = (value) => number(Math.round(100 * value));
  const isSame = share(before) === share(after);
  return html`<li>
    <h3>${t(`quality.${kind}`)}</h3>
    <p>${t(isSame ? "quality.first.same" : "quality.first", { before: share(before), after: share(after) })}</p>
    <div class="pair-of-bars">
      <span>${t("quality.before")}</span><${Bar} value=${before} className="before" /><span class="figure">${share(before)}</span>
      <span>${t("quality.after")}</span><${Bar} value=${after} className="after" /><span class="figure">${share(after)}</span>
    </div>
  </li>`;
}

export function Quality({ quality }) {
  const kinds = measured(quality);
  if (!kinds.length) return null;
  const learned = quality.adapter === "pca" ? "pca" : "learned";
  return html`<section class="panel quality">
    <h2>${t("quality.title")}</h2>
    <p>${t(`quality.${learned}.about`)}</p>
    <ul>${kinds.map((one) => html`<${Kind} ...${one} />`)}</ul>
    <p class="faint">${t("quality.note")}</p>
    <${ScorePlot} unrelated=${quality.unrelated_scores ?? []} kinds=${kinds} />
  </section>`;
}
