// The shapes of pictures, which only the pictures themselves tell.

import { useEffect, useReducer } from "../vendor/preact-htm.js";

const PATIENCE_MS = 4000;
const UNKNOWN = { ratio: 1, isShown: false };
const known = new Map();

function probe(url, done) {
  const image = new Image();
  let timer = null;
  const finish = (shape) => {
    clearTimeout(timer);
    image.onload = image.onerror = null;
    known.set(url, shape);
    done();
  };
  image.onload = () => {
    const ratio = image.naturalWidth / image.naturalHeight;
    finish({ ratio: Number.isFinite(ratio) && ratio > 0 ? ratio : 1, isShown: true });
  };
  image.onerror = () => finish(UNKNOWN);
  // A picture that is late is shown when it comes, in a square.
  timer = setTimeout(() => finish({ ratio: 1, isShown: true }), PATIENCE_MS);
  image.decoding = "async";
  image.referrerPolicy = "no-referrer";
  image.src = url;
}

/**
 * Return the shapes of the first pictures, as far as they are known without a gap. urls: null for what cannot be shown.
 * wanted: how many to ask for.
 */
export function useShapes(urls, wanted) {
  const [, update] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    let isCurrent = true;
    let isQueued = false;
    const done = () => {
      if (!isCurrent || isQueued) return;
      isQueued = true;
      requestAnimationFrame(() => {
        isQueued = false;
        if (isCurrent) update();
      });
    };
    for (const url of urls.slice(0, wanted)) {
      if (url && !known.has(url)) probe(url, done);
    }
    return () => {
      isCurrent = false;
    };
  }, [urls, wanted]);
  const shapes = [];
  for (const url of urls.slice(0, wanted)) {
    const shape = url ? known.get(url) : UNKNOWN;
    if (!shape) break;
    shapes.push(shape);
  }
  return shapes;
}
