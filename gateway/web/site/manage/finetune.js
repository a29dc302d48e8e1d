// Finetuning: start, watch, cancel.

import { html, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Remarks } from "../interface.js";
import { duration, number, t } from "../language.js";
import { finetuneWords } from "../problem_words.js";
import { isActive, stateOf } from "./state.js";

const PHASES = ["queued", "fetching", "first_index", "views", "fitting", "checking", "indexing", "publishing"];
// Only a collection that cannot be searched yet has these.
const FIRST = ["first_index", "views"];

function Progress({ info }) {
  const phase = info.finetuning_phase ?? "queued";
  const counts = info.finetuning_counts;
  const isFirst = FIRST.includes(phase) || !info.last_finetuned || info.quality?.provisional;
  const phases = PHASES.filter((name) => isFirst || !FIRST.includes(name));
  return html`<div class="stack" role="status" aria-live="off">
    <progress max="100" value=${info.finetuning_progess ?? 0} aria-label=${t("finetune.progress")}></progress>
    <ol class="phases">
      ${phases.map((name) => html`<li class=${phases.indexOf(name) < phases.indexOf(phase) ? "past" : name === phase ? "now" : ""} aria-current=${name === phase ? "step" : undefined}>${t(`finetune.phase.${name}`)}</li>`)}
    </ol>
    ${info.quality?.provisional && html`<p>${t("finetune.searchable")}</p>`}
    <p>
      ${counts && html`${t("finetune.counts", counts)} `}
      ${info.finetuning_seconds_left !== null && info.finetuning_seconds_left !== undefined && html`${t("finetune.left", { time: duration(info.finetuning_seconds_left) })}`}
    </p>
    ${(info.finetuning_paced_by ?? []).map((one) => html`<p class="faint">${t(`finetune.paced.${one.reason}`, { host: one.host })}</p>`)}
  </div>`;
}

export function Finetune({ info, canStart, onChange }) {
  const [problem, setProblem] = useState(null);
  const run = async (action) => {
    setProblem(null);
    try {
      await action();
      onChange();
    } catch (found) {
      setProblem(found);
    }
  };
  const state = stateOf(info);
  return html`<section class="panel">
    <h2>${t("finetune.title")}</h2>
    ${isActive(info) ? html`<${Progress} info=${info} />` : html`<p>${t(`finetune.state.${state}`)}</p>`}
    ${info.finetuning_error &&
    !isActive(info) &&
    html`<div class="wrong box"><p><strong>${t("finetune.failed")}</strong></p><p>${finetuneWords(info.finetuning_error)}</p></div>`}
    ${info.finetuning_warnings?.length > 0 && html`<${Remarks} texts=${info.finetuning_warnings} />`}
    ${canStart &&
    html`<p class="actions">
      ${isActive(info) && html`<button type="button" class="button" onClick=${() => run(() => api.cancel(info.id))}>${t("finetune.cancel")}</button>`}
      ${!isActive(info) && info.number_of_images > 0 && html`<button type="button" class="button ${state === "current" ? "" : "primary"}" onClick=${() => run(() => api.finetune(info.id, state === "current"))}>${t(state === "current" ? "finetune.again" : "finetune.do")}</button>`}
    </p>`}
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
  </section>`;
}
