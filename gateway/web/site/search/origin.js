// What the source of a collection says about a picture: its title, whom to credit, and its rights.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { api } from "../api.js";
import { t } from "../language.js";

const FIELDS = ["label", "attribution", "rights"];

function Value({ text }) {
  const url = safeUrl(text);
  return url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${text}<span class="hidden">, ${t("new_tab")}</span></a>` : text;
}

/** Nothing for a collection that has no source. */
export function Origin({ collection, image }) {
  const [details, setDetails] = useState(null);
  useEffect(() => {
    const abort = new AbortController();
    setDetails(null);
    // Without them, the result is shown all the same.
    api.image(collection, image, abort.signal).then(setDetails, () => {});
    return () => abort.abort();
  }, [collection, image.image_id]);
  const known = FIELDS.filter((name) => details?.[name]);
  if (!known.length) return null;
  return html`<dl class="origin">
    ${known.map((name) => html`<div key=${name}><dt>${t(`origin.${name}`)}</dt><dd><${Value} text=${details[name]} /></dd></div>`)}
  </dl>`;
}
