// The source of a collection that is read over IIIF or OAI-PMH: its state, and reading it again.

import { html, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { date, number, t } from "../language.js";

export function isBeingRead(info) {
  return info.source?.state === "queued" || info.source?.state === "running";
}

export function Source({ info, onDone }) {
  const [problem, setProblem] = useState(null);
  const { source } = info;
  const ask = (call) => async () => {
    setProblem(null);
    try {
      await call(info.id);
      onDone();
    } catch (found) {
      setProblem(found);
    }
  };
  const isRead = isBeingRead(info);
  return html`<section class="panel">
    <h2>${t("source.title")}</h2>
    <p>${t(`create.source.${source.type}`)}: <a href=${source.url} rel="noreferrer">${source.url}</a></p>
    ${isRead
      ? html`<p role="status">${t("source.reading", { count: number(source.counts?.done ?? 0) })}</p>`
      : html`<p>${source.last_read ? t("source.read", { date: date(source.last_read), added: source.added, changed: source.changed, removed: source.removed }) : t("source.never")}</p>`}
    ${source.error && html`<p class="wrong" role="alert" lang="en">${source.error.message}</p>`}
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    <p>
      ${isRead
        ? html`<button type="button" class="button" onClick=${ask(api.cancelReading)}>${t("source.cancel")}</button>`
        : html`<button type="button" class="button primary" onClick=${ask(api.readSource)}>${t("source.again")}</button>`}
    </p>
  </section>`;
}
