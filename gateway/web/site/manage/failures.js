// The pictures that could not be read, by reason.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { t } from "../language.js";
import { reasonWords } from "../problem_words.js";
import { Download } from "./download.js";
import { Address } from "./thumbnail.js";

const SHOWN = 100;

function Group({ reason, rows }) {
  return html`<details>
    <summary><strong>${reasonWords(reason)}</strong> <span class="faint">${t("failures.count", { n: rows.length })}</span></summary>
    <ul class="links">${rows.map((row) => html`<li><${Address} url=${row.image_url} /> <span class="faint" lang="en">${row.detail}</span></li>`)}</ul>
  </details>`;
}

export function Failures({ info }) {
  const [found, setFound] = useState(null);
  const [limit, setLimit] = useState(SHOWN);
  const count = info.number_of_failures ?? 0;
  useEffect(() => {
    if (!count) return undefined;
    const abort = new AbortController();
    api.failures(info.id, limit, abort.signal).then(setFound, () => {});
    return () => abort.abort();
  }, [info.id, count, limit, info.last_finetuned]);
  if (!count || !found) return null;
  const groups = Object.entries(Object.groupBy(found.failures, (row) => row.reason));
  return html`<section class="panel">
    <h2>${t("failures.title", { n: count })}</h2>
    <p>${t("failures.about")}</p>
    <div class="groups">${groups.map(([reason, rows]) => html`<${Group} key=${reason} reason=${reason} rows=${rows} />`)}</div>
    <p class="actions">
      ${found.next !== null && html`<button type="button" class="button" onClick=${() => setLimit(limit + 1000)}>${t("failures.more")}</button>`}
      <${Download} path=${`collection/${info.id}/failures`} type="text/csv" name=${`${info.name} failures.csv`}>${t("failures.csv")}</${Download}>
    </p>
  </section>`;
}
