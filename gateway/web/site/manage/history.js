// Whether finetuning got better: the quality of the indexes that a collection has had.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { date, day, number, t } from "../language.js";
import { KINDS, measured } from "./measured.js";

const WIDTH = 600;
const HEIGHT = 160;

function figure(share) {
  return share === undefined ? "–" : number(Math.round(100 * share));
}

/** Return the published indexes with what was measured for each, the oldest first. */
function useHistory(id, lastFinetuned) {
  const [history, setHistory] = useState([]);
  useEffect(() => {
    const abort = new AbortController();
    const keep = ({ indexes }) =>
      setHistory(
        indexes
          .map((index) => ({ ...index, shares: Object.fromEntries(measured(index.quality).map((one) => [one.kind, one.after])) }))
          .filter((index) => Object.keys(index.shares).length)
          .reverse(),
      );
    api.indexes(id, abort.signal).then(keep, () => {});
    return () => abort.abort();
  }, [id, lastFinetuned]);
  return history;
}

function Line({ kind, history }) {
  const place = (share, at) => `${((WIDTH * at) / (history.length - 1)).toFixed(1)} ${(HEIGHT * (1 - share)).toFixed(1)}`;
  const points = history.flatMap((index, at) => (index.shares[kind] === undefined ? [] : [place(index.shares[kind], at)]));
  return html`<path class=${`line ${kind}`} d=${`M${points.join("L")}`} />${points.map((point) => html`<path class=${`point ${kind}`} d=${`M${point}h0`} />`)}`;
}

function Table({ kinds, history }) {
  return html`<details>
    <summary>${t("history.figures")}</summary>
    <div class="scroll" tabindex="0" role="region" aria-label=${t("history.figures")}>
      <table>
        <thead><tr><th scope="col">${t("manage.finetuned")}</th><th scope="col" class="figure">${t("manage.pictures")}</th>${kinds.map((kind) => html`<th scope="col" class="figure">${t(`quality.${kind}`)}</th>`)}</tr></thead>
        <tbody>
          ${history.map(
            (index) => html`<tr>
              <th scope="row">${date(index.published_at)}</th>
              <td class="figure">${index.number_of_indexed_images === null ? "–" : number(index.number_of_indexed_images)}</td>
              ${kinds.map((kind) => html`<td class="figure">${figure(index.shares[kind])}</td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

export function History({ info }) {
  const history = useHistory(info.id, info.last_finetuned);
  if (history.length < 2) return null;
  const kinds = KINDS.filter((kind) => history.some((index) => index.shares[kind] !== undefined));
  const [first, last] = [history[0], history.at(-1)];
  return html`<section class="panel history">
    <h2>${t("history.title")}</h2>
    <p>${t("history.about")}</p>
    <figure class="plot">
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        ${[0, 0.5, 1].map((share) => html`<path class="grid" d=${`M0 ${HEIGHT * (1 - share)}h${WIDTH}`} />`)}
        ${kinds.map((kind) => html`<${Line} kind=${kind} history=${history} />`)}
      </svg>
      <p class="levels" aria-hidden="true">${[1, 0.5, 0].map((share) => html`<span>${number(100 * share)}</span>`)}</p>
      <p class="ends"><span>${day(first.published_at)}</span><span>${day(last.published_at)}</span></p>
      <figcaption>
        ${kinds.map((kind) => html`<span class=${`key-of ${kind}`}>${t(`quality.${kind}`)}: <strong>${figure(first.shares[kind])} → ${figure(last.shares[kind])}</strong></span>`)}
      </figcaption>
    </figure>
    <${Table} kinds=${kinds} history=${history} />
  </section>`;
}
