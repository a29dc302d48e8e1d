// A button that saves a file of the service. A link could not send the key.

import { html, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { Icon } from "../interface.js";

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

export function Download({ path, type, name, children }) {
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const run = async () => {
    setProblem(null);
    setIsBusy(true);
    try {
      save(await api.file(path, type), name);
    } catch (found) {
      setProblem(found);
    }
    setIsBusy(false);
  };
  return html`<button type="button" class="button" disabled=${isBusy} onClick=${run}><${Icon} name="download" />${children}</button>
    ${problem && html`<p class="wrong" role="alert">${problem.words}</p>`}`;
}
