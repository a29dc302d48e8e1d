// Where a visitor says what to look for, and where.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Icon } from "../interface.js";
import { date, t } from "../language.js";
import { given } from "./query.js";

/** Return what is said about the choice. A space keeps the place of what is not known yet. */
function aboutOf(value, list, info) {
  if (value === "all") return t("collection.count", { n: list.length });
  if (!info) return "\u00a0";
  const pictures = t("collection.pictures", { n: info.number_of_indexed_images ?? info.number_of_images });
  return info.last_finetuned ? `${pictures} · ${t("collection.as_of", { date: date(info.last_finetuned) })}` : pictures;
}

export function CollectionChoice({ list, value, onChange, info }) {
  return html`<div class="field">
    <label for="collection">${t("collection")}</label>
    <select id="collection" onChange=${(event) => onChange(event.target.value)}>
      ${list.length > 1 && html`<option value="all" selected=${value === "all"}>${t("collection.all")}</option>`}
      ${list.map((one) => html`<option value=${one.id} selected=${String(one.id) === String(value)}>${one.name}</option>`)}
    </select>
    <p class="faint about">
      ${aboutOf(value, list, info)}
    </p>
  </div>`;
}

function Address({ onGiven }) {
  const [text, setText] = useState("");
  const [isWrong, setIsWrong] = useState(false);
  const submit = (event) => {
    event.preventDefault();
    const found = given({ getData: () => text });
    setIsWrong(!found);
    if (found) onGiven(found);
  };
  return html`<form class="address" onSubmit=${submit} novalidate>
    <label for="address">${t("input.url")}</label>
    <div class="joined">
      <input id="address" type="url" inputmode="url" placeholder="https://" value=${text} onInput=${(event) => setText(event.target.value)}
        aria-invalid=${isWrong ? "true" : "false"} aria-describedby=${isWrong ? "address-wrong" : undefined} />
      <button type="submit" class="button">${t("search")}</button>
    </div>
    ${isWrong && html`<p id="address-wrong" class="wrong" role="alert">${t("input.url.wrong")}</p>`}
  </form>`;
}

/** Where the model reads words, a description can be searched for. */
function Description({ onGiven }) {
  const [text, setText] = useState("");
  const [isOffered, setIsOffered] = useState(false);
  useEffect(() => {
    const abort = new AbortController();
    api.about(abort.signal).then((about) => setIsOffered(about.backbone?.text === true), () => {});
    return () => abort.abort();
  }, []);
  if (!isOffered) return null;
  const submit = (event) => {
    event.preventDefault();
    if (text.trim()) onGiven({ text: text.trim() });
  };
  return html`<form class="address" onSubmit=${submit}>
    <label for="description">${t("input.text")}</label>
    <div class="joined">
      <input id="description" type="text" maxlength="2000" value=${text} onInput=${(event) => setText(event.target.value)} />
      <button type="submit" class="button">${t("search")}</button>
    </div>
  </form>`;
}

export function Input({ onGiven, isSmall = false }) {
  const take = (event) => {
    const [file] = event.target.files;
    if (file) onGiven({ file });
    event.target.value = "";
  };
  return html`<div class="input ${isSmall ? "small" : ""}">
    <label class="drop">
      <input type="file" accept="image/*,.tif,.tiff,.heic,.heif,.jp2" onChange=${take} />
      <${Icon} name="picture" />
      <span class="prompt">${t(isSmall ? "input.other" : "input.prompt")}</span>
      ${!isSmall && html`<span class="faint">${t("input.hint")}</span>`}
    </label>
    <label class="button photograph">
      <input type="file" accept="image/*" capture="environment" onChange=${take} />
      <${Icon} name="camera" /><span>${t("input.photograph")}</span>
    </label>
    <${Description} onGiven=${onGiven} />
    <${Address} onGiven=${onGiven} />
  </div>`;
}
