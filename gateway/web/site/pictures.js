// Where pictures are shown from: directly from their hosts, or through the service, as its operator decides.

import { safeUrl } from "./address.js";

/** Whether pictures come through the service. */
export const isProxied = document.documentElement.dataset.pictures === "proxied";

/** Return where an image of a collection can be shown from, or null. isLarge: for looking at it closely. */
export function pictureUrl(collection, image, isLarge = false) {
  if (!isProxied) return safeUrl(image.image_url);
  return `api/collection/${image.collection_id ?? collection}/images/${image.image_id}/thumbnail${isLarge ? "?size=large" : ""}`;
}

/** Return where a picture can be shown from that a visitor gave by its address, or null. */
export function foreignUrl(url) {
  return isProxied ? null : safeUrl(url);
}
