// How alike related and unrelated pictures are in a collection: two hills that hardly overlap where search works well.

import { html, useState } from "../vendor/preact-htm.js";
import { t } from "../language.js";

const WIDTH = 600;
const HEIGHT = 150;

/** Return the mean of each share and its neighbours, so that a few pictures make no spikes. */
function smoothed(shares) {
  return shares.map((share, at) => ((shares[at - 1] ?? 0) + 2 * share + (shares[at + 1] ?? 0)) / 4);
}

/** Return the outline of a hill. shares: of equal parts of the width. highest: the share that has the whole height. */
function outline(shares, highest) {
  const step = WIDTH / shares.length;
  const points = shares.map((share, at) => `${(step * (at + 0.5)).toFixed(1)} ${(HEIGHT * (1 - share / highest)).toFixed(1)}`);
  return `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`;
}

/** Return the part, 0 to 1 of all parts, below which half of the shares are. */
function middle(shares) {
  let sum = 0;
  return shares.findIndex((share) => (sum += share) >= 0.5);
}

/** Return how many of 1,000 unrelated pairs are at least as alike as half of the related ones. */
function mistaken(unrelated, related) {
  return Math.round(1000 * unrelated.slice(middle(related)).reduce((sum, share) => sum + share, 0));
}

export function ScorePlot({ unrelated, kinds }) {
  const known = kinds.filter(({ scores }) => scores.length === unrelated.length && scores.some(Boolean));
  const [chosen, setChosen] = useState(null);
  if (!unrelated.length || !known.length) return null;
  const { kind, scores } = known.find((one) => one.kind === chosen) ?? known[0];
  const [below, above] = [smoothed(unrelated), smoothed(scores)];
  const highest = 1.04 * Math.max(...below, ...above);
  const count = mistaken(unrelated, scores);
  const words = count ? t("scores.overlap", { n: count }) : t("scores.apart");
  return html`<h3>${t("scores.title")}</h3>
    <p>${t("scores.about")}</p>
    ${known.length > 1 &&
    html`<div class="field choice-of-kind">
      <label for="score-kind">${t("scores.related")}</label>
      <select id="score-kind" onChange=${(event) => setChosen(event.target.value)}>
        ${known.map((one) => html`<option value=${one.kind} selected=${one.kind === kind}>${t(`quality.${one.kind}`)}</option>`)}
      </select>
    </div>`}
    <figure class="plot">
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${words}>
        <path class="unrelated" d=${outline(below, highest)} /><path class="related" d=${outline(above, highest)} />
      </svg>
      <p class="ends" aria-hidden="true"><span>${t("scores.unlike")}</span><span>${t("scores.alike")}</span></p>
      <figcaption>
        <span class="key-of unrelated">${t("scores.unrelated")}</span>
        <span class="key-of related">${t(`quality.${kind}`)}</span>
      </figcaption>
    </figure>
    <p>${words}</p>`;
}
