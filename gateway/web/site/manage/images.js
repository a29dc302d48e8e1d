// The pictures of a collection, page by page.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { api } from "../api.js";
import { Spinner } from "../interface.js";
import { t } from "../language.js";

const PAGE = 24;

function Thumbnail({ image, isChosen, onChoose, canChange }) {
  const url = safeUrl(image.image_url);
  const entry = safeUrl(image.repo_url);
  return html`<li>
    <div class="thumbnail">${url && image.state !== "failed" ? html`<img src=${url} alt="" loading="lazy" decoding="async" referrerpolicy="no-referrer" />` : html`<span class="missing">${t("result.no_picture")}</span>`}</div>
    <p class="name">${entry ? html`<a href=${entry} target="_blank" rel="noopener noreferrer">${image.repo_url}</a>` : image.repo_url || image.image_url}</p>
    <p class="faint">${t(`image.${image.state}`)}</p>
    ${canChange && html`<label class="option"><input type="checkbox" checked=${isChosen} onChange=${onChoose} />${t("images.choose")}<span class="hidden"> ${image.image_url}</span></label>`}
  </li>`;
}

function Add({ info, onChange }) {
  const [imageUrl, setImageUrl] = useState("");
  const [entry, setEntry] = useState("");
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      await api.addImages(info.id, [{ image_url: imageUrl, repo_url: entry }]);
      setImageUrl("");
      setEntry("");
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
    <p><button type="submit" class="button">${t("images.add.do")}</button></p>
  </form>`;
}

export function Images({ info, canChange, changes, onChange }) {
  const [starts, setStarts] = useState([null]);
  const [page, setPage] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const [problem, setProblem] = useState(null);
  const after = starts[starts.length - 1];
  const isOurs = canChange && info.heidicon_tag === null;
  useEffect(() => {
    const abort = new AbortController();
    api.images(info.id, { limit: PAGE, after }, abort.signal).then(setPage, (found) => found.name !== "AbortError" && setProblem(found));
    return () => abort.abort();
  }, [info.id, after, changes, info.last_modified, info.last_finetuned]);
  if (!info.number_of_images && !isOurs) return null;
  const toggle = (id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
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
    ${page && html`<ul class="thumbnails">${page.images.map((image) => html`<${Thumbnail} key=${image.image_id} image=${image} canChange=${isOurs} isChosen=${chosen.has(image.image_id)} onChoose=${() => toggle(image.image_id)} />`)}</ul>`}
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    <p class="actions">
      ${starts.length > 1 && html`<button type="button" class="button" onClick=${() => setStarts(starts.slice(0, -1))}>${t("images.previous")}</button>`}
      ${page?.next != null && html`<button type="button" class="button" onClick=${() => setStarts([...starts, page.next])}>${t("images.next")}</button>`}
      ${isOurs && chosen.size > 0 && html`<button type="button" class="button danger" onClick=${remove}>${t("images.remove", { n: chosen.size })}</button>`}
    </p>
    ${isOurs && html`<${Add} info=${info} onChange=${onChange} />`}
  </section>`;
}
