// Looking after collections: all of them, or one.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Notice, Spinner } from "../interface.js";
import { date, number, t } from "../language.js";
import { CollectionPage } from "./collection.js";
import { Create } from "./create.js";
import { KeyPanel, may, useKey } from "./key.js";
import { StateMark } from "./state.js";

const AT_ONCE = 4;

/** Return all collections, with their infos as they arrive. */
function useCollections(attempt) {
  const [state, setState] = useState({ list: null, problem: null });
  useEffect(() => {
    const abort = new AbortController();
    const describe = async (waiting) => {
      for (let next = waiting.shift(); next && !abort.signal.aborted; next = waiting.shift()) {
        const { id } = next;
        const info = await api.info(id, abort.signal).catch(() => null);
        if (info) setState((now) => ({ ...now, list: now.list.map((one) => (one.id === id ? { ...one, info } : one)) }));
      }
    };
    api.collections(abort.signal).then(
      ({ names }) => {
        setState({ list: names, problem: null });
        const waiting = [...names];
        for (let worker = 0; worker < AT_ONCE; worker += 1) describe(waiting);
      },
      (problem) => problem.name !== "AbortError" && setState({ list: null, problem }),
    );
    return () => abort.abort();
  }, [attempt]);
  return state;
}

function Row({ id, name, info }) {
  return html`<tr>
    <th scope="row"><a href=${`#/manage?collection=${id}`}>${name}</a>${info && html`<div class="found-narrow"><${StateMark} info=${info} /></div>`}</th>
    <td class="figure">${info ? number(info.number_of_images) : "…"}</td>
    <td class="found">${info && html`<${StateMark} info=${info} />`}</td>
    <td class="changed">${info && date(info.last_modified)}</td>
  </tr>`;
}

function List({ list }) {
  if (!list.length) return html`<${Notice} title=${t("state.no_collections")}><p>${t("state.no_collections.why")}</p></${Notice}>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("manage.collections")}>
    <table class="collections">
      <thead><tr><th scope="col">${t("collection")}</th><th scope="col" class="figure">${t("manage.pictures")}</th><th scope="col" class="found">${t("manage.state")}</th><th scope="col" class="changed">${t("manage.modified")}</th></tr></thead>
      <tbody>${list.map((one) => html`<${Row} key=${one.id} ...${one} />`)}</tbody>
    </table>
  </div>`;
}

function Overview({ access }) {
  const [attempt, setAttempt] = useState(0);
  const { list, problem } = useCollections(attempt);
  return html`<div class="manage">
    <h1 tabindex="-1">${t("manage.title")}</h1>
    <${KeyPanel} ...${access} />
    ${problem && html`<${Notice} kind="problem" title=${t("state.failed")}>
      <p>${problem.words}</p>
      ${problem.canPass && html`<p><button type="button" class="button" onClick=${() => setAttempt(attempt + 1)}>${t("again")}</button></p>`}
    </${Notice}>`}
    ${!problem && !list && html`<${Spinner} />`}
    ${list && html`<${List} list=${list} />`}
    ${may(access.rights, "admin") && html`<${Create} />`}
  </div>`;
}

export function ManageScreen({ parameters }) {
  const access = useKey();
  const id = Number(parameters.get("collection"));
  return id ? html`<${CollectionPage} key=${id} id=${id} access=${access} parameters=${parameters} />` : html`<${Overview} access=${access} />`;
}
