// The pictures of a collection, page by page.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Spinner } from "../interface.js";
import { t } from "../language.js";
import { reasonWords } from "../problem_words.js";
import { Address, Thumbnail } from "./thumbnail.js";

const PAGE = 25;
const STATES = ["indexed", "pending", "failed"];

function State({ image }) {
  const reason = image.reason && reasonWords(image.reason);
  return html`<span class="mark ${image.state}">${t(`image.${image.state}`)}</span>${reason && html`<p class="faint">${reason}</p>`}`;
}

function Row({ collection, image, canChange, isChosen, onChoose }) {
  return html`<tr>
    ${canChange && html`<td class="choice"><input type="checkbox" checked=${isChosen} onChange=${onChoose} aria-label=${t("images.choose", { url: image.image_url })} /></td>`}
    <td class="picture"><${Thumbnail} collection=${collection} image=${image} /></td>
    <th scope="row">
      ${image.repo_url ? html`<${Address} url=${image.repo_url} />` : html`<span class="faint">${t("images.no_entry")}</span>`}
      <p class="faint">${image.image_url.replace(/^https?:\/\//i, "")}</p>
      <div class="found-narrow"><${State} image=${image} /></div>
    </th>
    <td class="found"><${State} image=${image} /></td>
  </tr>`;
}

function Table({ collection, images, canChange, chosen, onToggle }) {
  return html`<div class="scroll">
    <table class="images">
      <thead>
        <tr>
          ${canChange && html`<th scope="col"><span class="hidden">${t("images.chosen")}</span></th>`}
          <th scope="col">${t("images.picture")}</th>
          <th scope="col">${t("images.entry")}</th>
          <th scope="col" class="found">${t("manage.state")}</th>
        </tr>
      </thead>
      <tbody>
        ${images.map((image) => html`<${Row} key=${image.image_id} collection=${collection} image=${image} canChange=${canChange} isChosen=${chosen.has(image.image_id)} onChoose=${() => onToggle(image.image_id)} />`)}
      </tbody>
    </table>
  </div>`;
}

function StateChoice({ value, onChange }) {
  return html`<div class="field">
    <label for="image-state">${t("images.show")}</label>
    <select id="image-state" onChange=${(event) => onChange(event.target.value || null)}>
      <option value="" selected=${value === null}>${t("images.show.all")}</option>
      ${STATES.map((state) => html`<option value=${state} selected=${value === state}>${t(`image.${state}`)}</option>`)}
    </select>
  </div>`;
}

function Add({ info, onChange }) {
  const [imageUrl, setImageUrl] = useState("");
  const [entry, setEntry] = useState("");
  const [problem, setProblem] = useState(null);
  const [isDone, setIsDone] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    setIsDone(false);
    try {
      await api.addImages(info.id, [{ image_url: imageUrl, repo_url: entry }]);
      setImageUrl("");
      setEntry("");
      setIsDone(true);
      onChange();
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<form class="stack" onSubmit=${submit}>
    <h3>${t("images.add")}</h3>
    <div class="two">
      <div class="field"><label for="add-image">${t("images.add.image")}</label><input id="add-image" type="url" required placeholder="https://" value=${imageUrl} onInput=${(event) => setImageUrl(event.target.value)} /></div>
      <div class="field"><label for="add-entry">${t("images.add.entry")}</label><input id="add-entry" type="text" value=${entry} onInput=${(event) => setEntry(event.target.value)} /></div>
    </div>
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    ${isDone && html`<p class="faint" role="status">${t("images.add.done")}</p>`}
    <p><button type="submit" class="button">${t("images.add.do")}</button></p>
  </form>`;
}

export function Images({ info, canChange, changes, onChange }) {
  const [starts, setStarts] = useState([null]);
  const [page, setPage] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const [problem, setProblem] = useState(null);
  const [state, setState] = useState(null);
  const after = starts[starts.length - 1];
  const isOurs = canChange && info.heidicon_tag === null && !info.source;
  useEffect(() => {
    const abort = new AbortController();
    const show = (found) => {
      // The last page may have lost all its pictures.
      if (!found.images.length && starts.length > 1) setStarts(starts.slice(0, -1));
      else setPage(found);
    };
    const fail = (found) => found.name !== "AbortError" && setProblem(found);
    api.images(info.id, { limit: PAGE, after, state }, abort.signal).then(show, fail);
    return () => abort.abort();
    // `last_modified` has whole seconds: a content may replace another within one.
  }, [info.id, after, state, changes, info.last_modified, info.number_of_images, info.last_finetuned]);
  if (!info.number_of_images && !isOurs) return null;
  const toggle = (id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  const show = (wanted) => {
    setStarts([null]);
    setState(wanted);
  };
  const remove = async () => {
    setProblem(null);
    try {
      await api.removeImages(info.id, [...chosen]);
      setChosen(new Set());
      onChange();
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<section class="panel">
    <h2>${t("images.title")}</h2>
    ${!page && !problem && html`<${Spinner} />`}
    ${info.number_of_images > 0 && html`<${StateChoice} value=${state} onChange=${show} />`}
    ${page && page.images.length > 0 && html`<${Table} collection=${info.id} images=${page.images} canChange=${isOurs} chosen=${chosen} onToggle=${toggle} />`}
    ${page && !page.images.length && info.number_of_images > 0 && html`<p class="faint">${t("images.none")}</p>`}
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    <p class="actions">
      ${starts.length > 1 && html`<button type="button" class="button" onClick=${() => setStarts(starts.slice(0, -1))}>${t("images.previous")}</button>`}
      ${page?.next != null && html`<button type="button" class="button" onClick=${() => setStarts([...starts, page.next])}>${t("images.next")}</button>`}
      ${isOurs && chosen.size > 0 && html`<button type="button" class="button danger" onClick=${remove}>${t("images.remove", { n: chosen.size })}</button>`}
    </p>
    ${isOurs && html`<${Add} info=${info} onChange=${onChange} />`}
  </section>`;
}
