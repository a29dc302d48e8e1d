// A small picture of an image of a collection, and the addresses that belong to it.

import { html, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { pictureUrl } from "../pictures.js";

/** An address as a link, or as text if no link may lead there. The scheme is the same everywhere, and takes room. */
export function Address({ url }) {
  const safe = safeUrl(url);
  return safe ? html`<a href=${safe} target="_blank" rel="noopener noreferrer" title=${url}>${url.replace(/^https?:\/\//i, "")}</a>` : html`<span>${url}</span>`;
}

export function Thumbnail({ collection, image }) {
  const [missing, setMissing] = useState(null);
  const url = pictureUrl(collection, image);
  return html`<div class="thumbnail">
    ${url && missing !== url && html`<img src=${url} alt="" loading="lazy" decoding="async" referrerpolicy="no-referrer" onError=${() => setMissing(url)} />`}
  </div>`;
}
