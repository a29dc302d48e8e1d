// A new collection: empty, to be filled with a CSV, or from HeidICON, IIIF manifests or an OAI-PMH repository.

import { html, useState } from "../vendor/preact-htm.js";
import { go } from "../address.js";
import { api } from "../api.js";
import { Spinner } from "../interface.js";
import { t } from "../language.js";

function Field({ id, label, value, onChange, type = "text", isOptional = false }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} type=${type} required=${!isOptional} value=${value} onInput=${(event) => onChange(event.target.value)} />
  </div>`;
}

export function Create() {
  const [name, setName] = useState("");
  const [source, setSource] = useState("csv");
  const [tag, setTag] = useState("");
  const [url, setUrl] = useState("");
  const [prefix, setPrefix] = useState("");
  const [set, setSet] = useState("");
  const body = () => {
    if (source === "csv") return { name };
    if (source === "heidicon") return { name, heidicon_tag: tag };
    if (source === "iiif") return { name, source: { type: "iiif", url } };
    return { name, source: { type: "oai", url, metadata_prefix: prefix.trim(), ...(set.trim() && { set: set.trim() }) } };
  };
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    setIsBusy(true);
    try {
      const { id } = await api.create(body());
      go("manage", { collection: id });
    } catch (found) {
      setProblem(found);
      setIsBusy(false);
    }
  };
  return html`<section class="panel">
    <h2>${t("create.title")}</h2>
    <form class="stack" onSubmit=${submit}>
      <div class="field">
        <label for="new-name">${t("create.name")}</label>
        <input id="new-name" type="text" required maxlength="200" value=${name} onInput=${(event) => setName(event.target.value)} />
      </div>
      <fieldset>
        <legend>${t("create.source")}</legend>
        ${["csv", "iiif", "oai", "heidicon"].map(
          (kind) => html`<label class="option"><input type="radio" name="source" value=${kind} checked=${source === kind} onChange=${() => setSource(kind)} />${t(`create.source.${kind}`)}</label>`,
        )}
      </fieldset>
      ${source === "heidicon" &&
      html`<div class="field">
        <label for="new-tag">${t("create.tag")}</label>
        <input id="new-tag" type="text" required value=${tag} onInput=${(event) => setTag(event.target.value)} />
      </div>`}
      ${(source === "iiif" || source === "oai") && html`<${Field} id="new-url" type="url" label=${t(`create.url.${source}`)} value=${url} onChange=${setUrl} />`}
      ${source === "oai" && html`<${Field} id="new-prefix" label=${t("create.prefix")} value=${prefix} onChange=${setPrefix} /><${Field} id="new-set" label=${t("create.set")} value=${set} onChange=${setSet} isOptional />`}
      ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
      ${isBusy ? html`<${Spinner} label=${t(source === "heidicon" ? "create.reading" : "loading")} />` : html`<p><button type="submit" class="button primary">${t("create.do")}</button></p>`}
    </form>
  </section>`;
}
