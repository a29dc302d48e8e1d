// A new collection: empty, to be filled with a CSV, or from a HeidICON tag.

import { html, useState } from "../vendor/preact-htm.js";
import { go } from "../address.js";
import { api } from "../api.js";
import { Spinner } from "../interface.js";
import { t } from "../language.js";

export function Create() {
  const [name, setName] = useState("");
  const [source, setSource] = useState("csv");
  const [tag, setTag] = useState("");
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    setIsBusy(true);
    try {
      const { id } = await api.create(source === "csv" ? { name } : { name, heidicon_tag: tag });
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
        ${["csv", "heidicon"].map(
          (kind) => html`<label class="option"><input type="radio" name="source" value=${kind} checked=${source === kind} onChange=${() => setSource(kind)} />${t(`create.source.${kind}`)}</label>`,
        )}
      </fieldset>
      ${source === "heidicon" &&
      html`<div class="field">
        <label for="new-tag">${t("create.tag")}</label>
        <input id="new-tag" type="text" required value=${tag} onInput=${(event) => setTag(event.target.value)} />
      </div>`}
      ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}
      ${isBusy ? html`<${Spinner} label=${t(source === "csv" ? "loading" : "create.reading")} />` : html`<p><button type="submit" class="button primary">${t("create.do")}</button></p>`}
    </form>
  </section>`;
}
