// Parts of the interface that several screens use.

import { html } from "./vendor/preact-htm.js";
import { t } from "./language.js";

const PATHS = {
  similar: "M4 5h9v9H4zM11 10h9v9h-9z",
  entry: "M14 5h5v5M19 5l-8 8M11 6H6a1 1 0 0 0-1 1v11a1 1 0 0 0 1 1h11a1 1 0 0 0 1-1v-5",
  close: "M6 6l12 12M18 6L6 18",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  upload: "M12 16V5M7.5 9.5L12 5l4.5 4.5M5 16v2a1.5 1.5 0 0 0 1.5 1.5h11A1.5 1.5 0 0 0 19 18v-2",
  download: "M12 5v11M7.5 11.5L12 16l4.5-4.5M5 16v2a1.5 1.5 0 0 0 1.5 1.5h11A1.5 1.5 0 0 0 19 18v-2",
  camera: "M4 8.5A1.5 1.5 0 0 1 5.5 7H8l1.5-2h5L16 7h2.5A1.5 1.5 0 0 1 20 8.5v8a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 16.5zM12 9.2a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4",
  picture: "M4 6h16v12H4zM4 15l4.5-4.5 4 4 3-2.5L20 16M15.5 9.5h.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M18.4 5.6l-1.1 1.1M6.7 17.3l-1.1 1.1",
  moon: "M19 14.5A7.5 7.5 0 0 1 9.5 5 7.5 7.5 0 1 0 19 14.5",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}

/** A message in the page. kind: "info", "problem" or "busy". Screen readers announce it. */
export function Notice({ kind = "info", title, children }) {
  return html`<div class="notice ${kind}" role=${kind === "problem" ? "alert" : "status"}>
    ${title && html`<h2>${title}</h2>`}
    ${children}
  </div>`;
}

/** What the service says in its own words, which are English. */
export function Remarks({ texts }) {
  return html`<div class="box"><p><strong>${t("remarks", { n: texts.length })}</strong></p><ul lang="en">${texts.map((one) => html`<li>${one}</li>`)}</ul></div>`;
}

export function Spinner({ label }) {
  return html`<p class="spinner" role="status"><span class="dot" aria-hidden="true"></span>${label ?? t("loading")}</p>`;
}
