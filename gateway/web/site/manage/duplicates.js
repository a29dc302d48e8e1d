// Pictures that a collection has more than once, as groups to look through.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { go, write } from "../address.js";
import { api } from "../api.js";
import { Notice, Spinner } from "../interface.js";
import { t } from "../language.js";
import { Download } from "./download.js";
import { Address, Thumbnail } from "./thumbnail.js";

const PAGE = 20;
const SHOWN = 12;
const KINDS = ["identical", "copy"];

/** The link to the groups, where a collection has some. */
export function DuplicatesPanel({ info }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    if (!info.last_finetuned) return undefined;
    const abort = new AbortController();
    api.duplicates(info.id, { limit: 1 }, abort.signal).then(setFound, () => {});
    return () => abort.abort();
  }, [info.id, info.last_finetuned]);
  if (!found || !info.last_finetuned) return null;
  const count = found.number_of_groups;
  return html`<section class="panel">
    <h2>${t("duplicates.title")}</h2>
    <p>${found.searched ? t(count ? "duplicates.some" : "duplicates.none", { n: count }) : t("duplicates.unknown")}</p>
    ${count > 0 && html`<p><a class="button" href=${write("manage", { collection: info.id, show: "duplicates" })}>${t("duplicates.look", { n: count })}</a></p>`}
  </section>`;
}

function Member({ collection, image }) {
  return html`<li>
    <${Thumbnail} collection=${collection} image=${image} />
    ${image.repo_url ? html`<p><${Address} url=${image.repo_url} /></p>` : html`<p class="faint">${t("images.no_entry")}</p>`}
    <p class="faint"><${Address} url=${image.image_url} /></p>
  </li>`;
}

function Group({ collection, group }) {
  const [isWhole, setIsWhole] = useState(false);
  const { kind, images, number_of_images: count, number_of_entries: entries } = group;
  const shown = isWhole ? images : images.slice(0, SHOWN);
  const unseen = count - images.length;
  return html`<section class="panel group">
    <h2>${t(`duplicates.${kind}`, { n: count })}</h2>
    <p class="marks">
      <span class="mark ${entries === 1 ? "indexed" : "pending"}">${entries === 1 ? t("duplicates.one_entry") : t("duplicates.entries", { n: entries })}</span>
    </p>
    <ul class="members">${shown.map((image) => html`<${Member} key=${image.image_id} collection=${collection} image=${image} />`)}</ul>
    ${shown.length < images.length && html`<p><button type="button" class="button" onClick=${() => setIsWhole(true)}>${t("duplicates.whole", { n: images.length - shown.length })}</button></p>`}
    ${isWhole && unseen > 0 && html`<p class="faint">${t("duplicates.unseen", { n: unseen })}</p>`}
  </section>`;
}

function KindChoice({ value, onChange }) {
  return html`<div class="field choice-of-kind">
    <label for="duplicate-kind">${t("images.show")}</label>
    <select id="duplicate-kind" onChange=${(event) => onChange(event.target.value || null)}>
      <option value="" selected=${value === null}>${t("duplicates.kind.all")}</option>
      ${KINDS.map((kind) => html`<option value=${kind} selected=${value === kind}>${t(`duplicates.kind.${kind}`)}</option>`)}
    </select>
  </div>`;
}

/** Return a page of groups. If the index changed since the first page, the numbers of groups mean nothing any more. */
function usePage(id, kind, starts, setStarts) {
  const [state, setState] = useState({ page: null, problem: null });
  const { after, index } = starts[starts.length - 1];
  useEffect(() => {
    const abort = new AbortController();
    const show = (page) => {
      if (index !== null && page.index_id !== index) setStarts([{ after: null, index: null }]);
      else setState({ page, problem: null });
    };
    const fail = (problem) => problem.name !== "AbortError" && setState({ page: null, problem });
    api.duplicates(id, { limit: PAGE, after, kind }, abort.signal).then(show, fail);
    return () => abort.abort();
  }, [id, kind, after, index]);
  return state;
}

export function DuplicatesPage({ id, name, parameters }) {
  const wanted = parameters.get("kind");
  const kind = KINDS.includes(wanted) ? wanted : null;
  const [starts, setStarts] = useState([{ after: null, index: null }]);
  const { page, problem } = usePage(id, kind, starts, setStarts);
  const choose = (value) => {
    setStarts([{ after: null, index: null }]);
    go("manage", { collection: id, show: "duplicates", kind: value });
  };
  const turn = (next) => {
    setStarts(next);
    document.querySelector("main h1")?.focus();
    scrollTo(0, 0);
  };
  const first = 1 + PAGE * (starts.length - 1);
  return html`<div class="manage">
    <p><a href=${write("manage", { collection: id })}>${t("duplicates.back", { name })}</a></p>
    <h1 tabindex="-1">${t("duplicates.title")}</h1>
    <p class="lead">${t("duplicates.about")}</p>
    <div class="bar-of-choices">
      <${KindChoice} value=${kind} onChange=${choose} />
      <${Download} path=${`collection/${id}/duplicates`} type="text/csv" name=${`${name} duplicates.csv`}>${t("duplicates.csv")}</${Download}>
    </div>
    ${problem && html`<${Notice} kind="problem" title=${t("state.failed")}><p>${problem.words}</p></${Notice}>`}
    ${!page && !problem && html`<${Spinner} />`}
    ${page && !page.duplicates.length && html`<${Notice} title=${t(page.searched ? "duplicates.none" : "duplicates.unknown", { n: 0 })} />`}
    ${page && page.duplicates.length > 0 && html`<p class="faint" role="status">${t("duplicates.range", { first, last: first + page.duplicates.length - 1, all: page.number_of_groups })}</p>`}
    ${page?.duplicates.map((group) => html`<${Group} key=${`${page.index_id}/${group.group}`} collection=${id} group=${group} />`)}
    <p class="actions">
      ${starts.length > 1 && html`<button type="button" class="button" onClick=${() => turn(starts.slice(0, -1))}>${t("images.previous")}</button>`}
      ${page?.next != null && html`<button type="button" class="button" onClick=${() => turn([...starts, { after: page.next, index: page.index_id }])}>${t("images.next")}</button>`}
    </p>
  </div>`;
}
