// The source of a collection that is read over IIIF or OAI-PMH: its state, when it is read, and what brought no picture.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Remarks } from "../interface.js";
import { date, has, number, t } from "../language.js";
import { reasonWords } from "../problem_words.js";
import { Address } from "./thumbnail.js";

const REFRESH = ["daily", "weekly"];

export function isBeingRead(info) {
  return info.source?.state === "queued" || info.source?.state === "running";
}

function Progress({ source }) {
  const { done = 0, total = null } = source.counts ?? {};
  return html`<div class="stack" role="status" aria-live="off">
    <progress max="100" value=${total === null ? undefined : (source.progress ?? 0)} aria-label=${t("source.progress")}></progress>
    <p>${total === null ? t("source.reading", { count: number(done) }) : t("source.reading_of", { count: number(done), total: number(total) })}</p>
    ${source.paced_by && html`<p class="faint">${t(`finetune.paced.${source.paced_by.reason}`, { host: source.paced_by.host })}</p>`}
  </div>`;
}

/** When the source is read without being asked to, and what happens then. */
function Schedule({ source, onChange }) {
  // What was chosen is shown at once, until the service says the same or refuses it.
  const [chosen, setChosen] = useState(null);
  useEffect(() => setChosen(null), [source.refresh, source.then]);
  const { refresh, then } = chosen ?? { refresh: source.refresh ?? null, then: source.then ?? null };
  const change = async (changes) => {
    const next = { refresh, then, ...changes };
    setChosen(next);
    const isTaken = await onChange({ ...(next.refresh && { refresh: next.refresh }), ...(next.refresh && next.then && { then: next.then }) });
    if (!isTaken) setChosen(null);
  };
  return html`<div class="stack">
    <div class="field choice-of-kind">
      <label for="refresh">${t("source.refresh")}</label>
      <select id="refresh" onChange=${(event) => change({ refresh: event.target.value || null })}>
        <option value="" selected=${!refresh}>${t("source.refresh.never")}</option>
        ${REFRESH.map((one) => html`<option value=${one} selected=${refresh === one}>${t(`source.refresh.${one}`)}</option>`)}
      </select>
    </div>
    ${refresh && html`<label class="option"><input type="checkbox" checked=${then === "finetune"} onChange=${(event) => change({ then: event.target.checked ? "finetune" : null })} />${t("source.then")}</label>`}
    ${source.next_reading && html`<p class="faint">${t("source.next", { date: date(source.next_reading) })}</p>`}
  </div>`;
}

/** Return why a record brought no picture. Two reasons are about the record itself. */
function recordWords(reason) {
  return has(`record.${reason}`) ? t(`record.${reason}`) : reasonWords(reason);
}

/** The records that brought no picture, by reason. */
function Missed({ info }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    api.source(info.id, abort.signal).then(setFound, () => {});
    return () => abort.abort();
  }, [info.id, info.source.last_read, info.source.state]);
  if (!found?.failures.length) return null;
  const groups = Object.entries(Object.groupBy(found.failures, (one) => one.reason));
  return html`<div class="stack">
    <h3>${t("source.missed")}</h3>
    <div class="groups">
      ${groups.map(
        ([reason, records]) => html`<details>
          <summary><strong>${recordWords(reason)}</strong> <span class="faint">${t("source.records", { n: found.failure_counts[reason] ?? records.length })}</span></summary>
          <ul class="links">${records.map((one) => html`<li><${Address} url=${one.record} /> <span class="faint" lang="en">${one.detail}</span></li>`)}</ul>
        </details>`,
      )}
    </div>
  </div>`;
}

function Facts({ source }) {
  return html`<p>
    ${t(`create.source.${source.type}`)}: <${Address} url=${source.url} />
    ${source.metadata_prefix && html`<br /><span class="faint">${t("source.format", { format: source.metadata_prefix })}${source.set && ` · ${t("source.set", { set: source.set })}`}</span>`}
  </p>`;
}

export function Source({ info, canChange, onDone }) {
  const [problem, setProblem] = useState(null);
  const { source } = info;
  const ask = async (call) => {
    setProblem(null);
    try {
      await call();
      onDone();
      return true;
    } catch (found) {
      setProblem(found);
      return false;
    }
  };
  const isRead = isBeingRead(info);
  const { added, changed, removed } = source;
  return html`<section class="panel">
    <h2>${t("source.title")}</h2>
    <${Facts} source=${source} />
    ${isRead
      ? html`<${Progress} source=${source} />`
      : html`<p>${source.last_read ? t("source.read", { date: date(source.last_read), added, changed, removed }) : t("source.never")}</p>`}
    ${source.error && !isRead && html`<div class="wrong box" role="alert"><p><strong>${t("source.failed")}</strong></p><p>${reasonWords(source.error.code)}.</p><p class="faint" lang="en">${source.error.message}</p></div>`}
    ${source.reading_warnings?.length > 0 && html`<${Remarks} texts=${source.reading_warnings} />`}
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    ${canChange &&
    html`<p class="actions">
        ${isRead
          ? html`<button key="cancel" type="button" class="button" onClick=${() => ask(() => api.cancelReading(info.id))}>${t("source.cancel")}</button>`
          : html`<button key="read" type="button" class="button primary" onClick=${() => ask(() => api.readSource(info.id))}>${t(source.last_read ? "source.again" : "source.first")}</button>`}
      </p>
      <${Schedule} source=${source} onChange=${(wanted) => ask(() => api.schedule(info.id, wanted))} />`}
    <${Missed} info=${info} />
  </section>`;
}
