// The picture that is looked for.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { call } from "../api.js";
import { Icon } from "../interface.js";
import { t } from "../language.js";
import { foreignUrl, pictureUrl } from "../pictures.js";
import { recall } from "./query.js";
import { covering, RegionDialog } from "./region.js";

const FRAME_RATIO = 4 / 3;

/** Return where the picture of a query can be shown from, or null. */
export function usePictureUrl(query) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const known = query?.kind === "id" ? recall(query.collection, query.id) : null;
    setUrl(known && pictureUrl(query.collection, known, true));
    if (query?.kind !== "id" || known) return undefined;
    const abort = new AbortController();
    call(`collection/${query.collection}/images/${query.id}`, { signal: abort.signal }).then(
      (image) => setUrl(pictureUrl(query.collection, image, true)),
      () => {},
    );
    return () => abort.abort();
  }, [query?.key]);
  if (query?.kind === "picture") return query.picture?.url ?? null;
  return query?.kind === "url" ? foreignUrl(query.url) : url;
}

export function nameOfQuery(query) {
  if (query.kind === "id") return t("query.id", { id: String(query.id) });
  if (query.kind === "text") return query.text;
  return query.kind === "url" ? query.url : query.picture?.name || t("query.picture");
}

/** A picture that results shall be more, or less, like. */
function Example({ query, id, sign, onRemove }) {
  const known = recall(query.collection, id);
  const url = known && pictureUrl(query.collection, known);
  const name = t(`example.${sign}`, { id: String(id) });
  return html`<li class=${sign}>
    ${url ? html`<img src=${url} alt=${name} referrerpolicy="no-referrer" />` : html`<span class="missing">${id}</span>`}
    <button type="button" onClick=${() => onRemove(id)} aria-label=${t("example.remove", { name })}><${Icon} name="close" /></button>
  </li>`;
}

function Examples({ query, onRemove }) {
  if (!query.more.length && !query.less.length) return null;
  return html`<div class="examples">
    ${["more", "less"].map(
      (sign) =>
        query[sign].length > 0 &&
        html`<div>
          <p>${t(`examples.${sign}`)}</p>
          <ul>${query[sign].map((id) => html`<${Example} key=${id} ...${{ query, id, sign, onRemove }} />`)}</ul>
        </div>`,
    )}
  </div>`;
}

/** Return where a picture of a shape lies in the frame, as a region of the frame. */
function placeIn(ratio) {
  const [width, height] = ratio > FRAME_RATIO ? [1, FRAME_RATIO / ratio] : [ratio / FRAME_RATIO, 1];
  return { x: (1 - width) / 2, y: (1 - height) / 2, width, height };
}

/** Return the text in place of a picture. url: where it should have been shown from, or null. */
export function missingText(kind, url) {
  if (kind === "id") return "query.unknown";
  return kind === "url" && !url ? "query.not_shown" : "query.no_preview";
}

export function QueryPicture({ query, onRemove, onRegion }) {
  const url = usePictureUrl(query);
  const [failed, setFailed] = useState(null);
  const [ratio, setRatio] = useState(null);
  const [isDrawing, setIsDrawing] = useState(false);
  if (query.kind === "text") {
    return html`<figure class="query"><blockquote>${query.text}</blockquote><${Examples} ...${{ query, onRemove }} /></figure>`;
  }
  const isShown = url && failed !== url;
  return html`<figure class="query">
    <div class="frame">
      ${isShown
        ? html`<img src=${url} alt=${t("query.alt")} referrerpolicy="no-referrer" onError=${() => setFailed(url)}
            onLoad=${(event) => setRatio(event.target.naturalWidth / event.target.naturalHeight)} />`
        : html`<span class="missing">${t(missingText(query.kind, url))}</span>`}
      ${isShown && query.region && ratio && html`<div class="place" style=${covering(placeIn(ratio))}><div class="part" style=${covering(query.region)}></div></div>`}
    </div>
    <figcaption title=${nameOfQuery(query)}>${nameOfQuery(query)}</figcaption>
    ${isShown && html`<button type="button" class="button" onClick=${() => setIsDrawing(true)}>${t(query.region ? "region.change" : "region.open")}</button>`}
    ${isDrawing && html`<${RegionDialog} url=${url} region=${query.region} onDone=${onRegion} onClose=${() => setIsDrawing(false)} />`}
    <${Examples} ...${{ query, onRemove }} />
  </figure>`;
}
