// The picture that is looked for.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { safeUrl } from "../address.js";
import { call } from "../api.js";
import { routes } from "../features.js";
import { t } from "../language.js";

/** Return where the picture of a query can be shown from, or null. */
export function usePictureUrl(query) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    setUrl(null);
    if (query?.kind !== "id" || !routes.images) return undefined;
    const abort = new AbortController();
    call(`collection/${query.collection}/images/${query.id}`, { signal: abort.signal }).then(
      (image) => setUrl(safeUrl(image.image_url)),
      () => {},
    );
    return () => abort.abort();
  }, [query?.key]);
  if (query?.kind === "picture") return query.picture?.url ?? null;
  return query?.kind === "url" ? safeUrl(query.url) : url;
}

export function nameOfQuery(query) {
  if (query.kind === "id") return t("query.id", { id: String(query.id) });
  return query.kind === "url" ? query.url : query.picture?.name || t("query.picture");
}

export function QueryPicture({ query }) {
  const url = usePictureUrl(query);
  const [failed, setFailed] = useState(null);
  return html`<figure class="query">
    <div class="frame">
      ${url && failed !== url
        ? html`<img src=${url} alt=${t("query.alt")} referrerpolicy="no-referrer" onError=${() => setFailed(url)} />`
        : html`<span class="missing">${t("query.no_preview")}</span>`}
    </div>
    <figcaption title=${nameOfQuery(query)}>${nameOfQuery(query)}</figcaption>
  </figure>`;
}
