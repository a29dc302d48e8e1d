// New content: a CSV with a preview, or HeidICON read again.

import { html, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Icon, Remarks, Spinner } from "../interface.js";
import { number, t } from "../language.js";
import { preview } from "./csv_preview.js";

function Preview({ rows }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("upload.preview")}>
    <table class="preview">
      <caption>${t("upload.preview")}</caption>
      <tbody>${rows.map((row) => html`<tr>${row.slice(0, 4).map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
    </table>
  </div>`;
}

// With these, the service may have taken the file, and only its answer got lost.
const LOST = new Set(["offline", "unreachable", "unreadable_answer", "deadline_exceeded"]);

function isLost({ code }) {
  return LOST.has(code);
}

/** What was refused, with the line in front where the service named one. */
function Refused({ problem }) {
  const line = problem.code === "invalid_csv" ? /\bline (\d+)/i.exec(problem.message)?.[1] : null;
  return html`<div class="wrong box" role="alert">
    ${line && html`<p><strong>${t("upload.line", { line: Number(line) })}</strong></p>`}
    <p>${line ? t("upload.line.why") : problem.words}</p>
    ${problem.code === "invalid_csv" && html`<p class="faint" lang="en">${problem.message.replace(/^Line \d+: /, "")}</p>`}
    <p>${t(isLost(problem) ? "upload.perhaps" : "upload.unchanged")}</p>
  </div>`;
}

export function Upload({ info, onDone }) {
  const [file, setFile] = useState(null);
  const [rows, setRows] = useState(null);
  const [progress, setProgress] = useState(null);
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState(null);
  const isHeidicon = info.heidicon_tag !== null;
  const choose = async (event) => {
    const [chosen] = event.target.files;
    event.target.value = "";
    if (!chosen) return;
    setAnswer(null);
    setProblem(null);
    setFile(chosen);
    setRows(await preview(chosen).catch(() => []));
  };
  const send = async () => {
    setProblem(null);
    setAnswer(null);
    setProgress(0);
    try {
      setAnswer(await api.upload(info.id, file, setProgress));
      setFile(null);
      onDone();
    } catch (found) {
      setProblem(found);
      if (isLost(found)) onDone();
    }
    setProgress(null);
  };
  return html`<section class="panel">
    <h2>${t("upload.title")}</h2>
    <p>${t(isHeidicon ? "upload.heidicon" : "upload.about")}</p>
    ${!isHeidicon &&
    html`<label class="button choose"><input type="file" accept=".csv,.tsv,.txt,text/csv" onChange=${choose} disabled=${progress !== null} /><${Icon} name="upload" />${t("upload.choose")}</label>`}
    ${file && html`<p><strong>${file.name}</strong> <span class="faint">${t("upload.size", { size: number(Math.ceil(file.size / 1000)) })}</span></p><${Preview} rows=${rows ?? []} />`}
    ${progress !== null
      ? progress < 1 && !isHeidicon
        ? html`<div class="field"><label for="sent">${t("upload.sending")}</label><progress id="sent" max="1" value=${progress}></progress></div>`
        : html`<${Spinner} label=${t(isHeidicon ? "create.reading" : "upload.checking")} />`
      : (file || isHeidicon) && html`<p><button type="button" class="button primary" onClick=${send}>${t(isHeidicon ? "upload.again" : "upload.do")}</button></p>`}
    ${problem && html`<${Refused} problem=${problem} />`}
    ${answer &&
    html`<div role="status" class="box">
      <p><strong>${t("upload.done", { n: answer.number_of_images })}</strong> ${info.requires_finetuning && t("upload.next")}</p>
    </div>
    ${answer.warnings?.length > 0 && html`<${Remarks} texts=${answer.warnings} />`}`}
  </section>`;
}
