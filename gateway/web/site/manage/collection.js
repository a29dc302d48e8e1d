// One collection: its content, finetune, quality, failures, name.

import { html, useState } from "../vendor/preact-htm.js";
import { go } from "../address.js";
import { api } from "../api.js";
import { Notice, Spinner } from "../interface.js";
import { date, number, t } from "../language.js";
import { Download } from "./download.js";
import { DuplicatesPage, DuplicatesPanel } from "./duplicates.js";
import { Failures } from "./failures.js";
import { Finetune } from "./finetune.js";
import { History } from "./history.js";
import { Images } from "./images.js";
import { KeyPanel, may } from "./key.js";
import { Quality } from "./quality.js";
import { Source } from "./source.js";
import { StateMark, useLiveInfo } from "./state.js";
import { Upload } from "./upload.js";

function Rename({ info, onDone }) {
  const [name, setName] = useState(info.name);
  const [problem, setProblem] = useState(null);
  const [isDone, setIsDone] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      await api.rename(info.id, name);
      setIsDone(true);
      onDone();
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<section class="panel">
    <h2>${t("rename.title")}</h2>
    <form class="stack" onSubmit=${submit}>
      <div class="field">
        <label for="name">${t("create.name")}</label>
        <div class="joined">
          <input id="name" type="text" required maxlength="200" value=${name} onInput=${(event) => { setName(event.target.value); setIsDone(false); }} />
          <button type="submit" class="button" disabled=${name === info.name || !name.trim()}>${t("rename.do")}</button>
        </div>
      </div>
      ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
      ${isDone && html`<p class="faint" role="status">${t("rename.done")}</p>`}
    </form>
  </section>`;
}

function Delete({ info }) {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await api.remove(info.id);
      go("manage", {});
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<section class="panel">
    <h2>${t("delete.title")}</h2>
    <p>${info.number_of_images ? t("delete.about", { n: info.number_of_images }) : t("delete.about.empty")}</p>
    <form class="stack" onSubmit=${submit}>
      <div class="field">
        <label for="confirm">${t("delete.confirm", { name: info.name })}</label>
        <div class="joined">
          <input id="confirm" type="text" autocomplete="off" value=${typed} onInput=${(event) => setTyped(event.target.value)} />
          <button type="submit" class="button danger" disabled=${typed.trim() !== info.name.trim()}>${t("delete.do")}</button>
        </div>
      </div>
      ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
    </form>
  </section>`;
}

function Facts({ info }) {
  const facts = [
    ["manage.pictures", number(info.number_of_images)],
    ["manage.searchable", number(info.number_of_indexed_images ?? 0)],
    ["manage.modified", date(info.last_modified)],
    ["manage.finetuned", info.last_finetuned ? date(info.last_finetuned) : t("manage.never")],
  ];
  if (info.heidicon_tag) facts.push(["manage.tag", info.heidicon_tag]);
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${t(name)}</dt><dd>${value}</dd></div>`)}</dl>`;
}

export function CollectionPage({ id, access, parameters }) {
  const { info, problem, refresh } = useLiveInfo(id);
  const [changes, setChanges] = useState(0);
  const { rights } = access;
  const changed = () => {
    setChanges(changes + 1);
    refresh();
  };
  if (!info) {
    return html`<div class="manage">
      <p><a href="#/manage">${t("manage.back")}</a></p>
      <h1 tabindex="-1">${t("manage.title")}</h1>
      ${problem ? html`<${Notice} kind="problem" title=${t("state.failed")}><p>${problem.words}</p></${Notice}>` : html`<${Spinner} />`}
    </div>`;
  }
  if (parameters.get("show") === "duplicates") return html`<${DuplicatesPage} id=${id} name=${info.name} parameters=${parameters} />`;
  const mayWrite = may(rights, "write", id);
  return html`<div class="manage">
    <p><a href="#/manage">${t("manage.back")}</a></p>
    <div class="title"><h1 tabindex="-1">${info.name}</h1><${StateMark} info=${info} /></div>
    <${Facts} info=${info} />
    <p class="actions">
      ${info.last_finetuned && html`<a class="button" href=${`#/search?collection=${id}`}>${t("manage.search")}</a>`}
      ${info.number_of_images > 0 && html`<${Download} path=${`collection/${id}/csvfile`} type="text/csv" name=${`${info.name}.csv`}>${t("manage.csv")}</${Download}>`}
    </p>
    ${!rights && html`<${KeyPanel} ...${access} />`}
    ${info.source && html`<${Source} info=${info} canChange=${mayWrite} onDone=${changed} />`}
    ${mayWrite && !info.source && html`<${Upload} info=${info} onDone=${changed} />`}
    <${Finetune} info=${info} canStart=${mayWrite} onChange=${refresh} />
    ${info.quality && html`<${Quality} quality=${info.quality} /><${History} info=${info} />`}
    <${Failures} info=${info} />
    <${DuplicatesPanel} info=${info} />
    <${Images} info=${info} canChange=${mayWrite} changes=${changes} onChange=${changed} />
    ${may(rights, "admin", id) && html`<${Rename} info=${info} onDone=${refresh} /><${Delete} info=${info} />`}
    ${rights && html`<${KeyPanel} ...${access} />`}
    ${problem && html`<p class="stale" role="status"><strong>${t("manage.stale")}</strong> ${problem.words}</p>`}
  </div>`;
}
