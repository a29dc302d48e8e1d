// What the finetune brought, in words for people without a course in retrieval.

import { html } from "../vendor/preact-htm.js";
import { number, t } from "../language.js";

const KINDS = ["views", "groups_seen", "groups_unseen"];

function Bar({ value, className }) {
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
    <rect class="track" width="100" height="10" /><rect class=${className} width=${100 * value} height="10" />
  </svg>`;
}

function Kind({ name, part }) {
  const before = part.frozen.recall_at_1;
  const after = part.adapter.recall_at_1;
  const share = (value) => number(Math.round(100 * value));
  return html`<li>
    <h3>${t(`quality.${name}`)}</h3>
    <p>${t("quality.first", { before: share(before), after: share(after) })}</p>
    <div class="pair-of-bars">
      <span>${t("quality.before")}</span><${Bar} value=${before} className="before" /><span class="figure">${share(before)}</span>
      <span>${t("quality.after")}</span><${Bar} value=${after} className="after" /><span class="figure">${share(after)}</span>
    </div>
  </li>`;
}

export function Quality({ info }) {
  const { parts = {}, adapter } = info.quality;
  const kinds = KINDS.filter((name) => parts[name]?.frozen && parts[name]?.adapter);
  if (!kinds.length) return null;
  const learned = adapter === "pca" ? "pca" : "learned";
  return html`<section class="panel quality">
    <h2>${t("quality.title")}</h2>
    <p>${t(`quality.${learned}.about`)}</p>
    <ul>${kinds.map((name) => html`<${Kind} name=${name} part=${parts[name]} />`)}</ul>
    <p class="faint">${t("quality.note")}</p>
  </section>`;
}
