// One of the two pictures of a comparison, in its frame.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { covering } from "./region.js";

/** The part of the picture that was searched for. ratio: width / height of the picture. */
function Part({ region, ratio, transform, zoom }) {
  return html`<div class="layer" style=${{ transform, "--ratio": ratio, "--zoom": zoom }}><div class="whole"><div class="part" style=${covering(region)}></div></div></div>`;
}

/**
 * missing: what is said in place of a picture that cannot be shown. clip: how much of the frame the other picture has, in
 * pixels from the left. onRatio: receives the picture's width / height.
 */
export function Side({ url, missing, title, alt, view, handlers, frame: given, region, clip, onRatio }) {
  const [failed, setFailed] = useState(null);
  const [ratio, setRatio] = useState(null);
  const transform = `translate(${100 * view.x}%, ${100 * view.y}%) scale(${view.zoom})`;
  const own = useRef(null);
  const frame = given ?? own;
  const shaped = (found) => {
    setRatio(found);
    onRatio(found);
  };
  // Preact would listen passively, and the page would scroll.
  useEffect(() => {
    const element = frame.current;
    element.addEventListener("wheel", handlers.onWheel, { passive: false });
    return () => element.removeEventListener("wheel", handlers.onWheel);
  }, []);
  const { onWheel: _, ...pointer } = handlers;
  return html`<figure class="side" style=${clip === undefined ? {} : { clipPath: `inset(0 0 0 ${clip}px)` }}>
    <figcaption>${title}</figcaption>
    <div class="frame" ref=${frame} ...${pointer}>
      ${url && failed !== url
        ? html`<img src=${url} alt=${alt} draggable=${false} referrerpolicy="no-referrer" style=${{ transform }} onError=${() => setFailed(url)}
            onLoad=${({ target }) => shaped(target.naturalWidth / target.naturalHeight)} />`
        : html`<span class="missing">${missing}</span>`}
      ${region && ratio && html`<${Part} ...${{ region, ratio, transform, zoom: view.zoom }} />`}
      ${clip !== undefined && html`<span class="border" style=${{ left: `${clip}px` }}></span>`}
    </div>
  </figure>`;
}
