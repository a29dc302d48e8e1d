// What happened and what to do, in the visitor's language, by the stable codes of the API.

import { has, t } from "./language.js";

// Two codes have another meaning for a download.
const DOWNLOAD_REFUSED = new Set(["forbidden", "not_found"]);
// Codes that mean the same to somebody at this page.
const SAME = {
  misconfigured: [
    ...["database_access_denied", "database_missing", "database_tls_failed", "schema_missing", "embedder_outdated"],
    ...["embedder_tls_failed", "qdrant_key_refused", "qdrant_tls_failed", "vectors_damaged"],
  ],
  unavailable: ["database_unavailable", "embedder_unavailable", "qdrant_unavailable", "upstream_failed", "stopping"],
  heidicon_failed: ["heidicon_bad_answer", "heidicon_incomplete"],
  content_not_editable: ["ambiguous_delimiter", "content_needs_upload"],
  invalid_address: ["invalid_image_url", "invalid_images"],
  reload: ["invalid_request", "failed_precondition", "invalid_json", "not_found", "route_not_found"],
};
const MEANING = Object.fromEntries(Object.entries(SAME).flatMap(([meaning, codes]) => codes.map((code) => [code, meaning])));

/** Return the text of a code, or null if the page has none. */
function textOf(code) {
  const key = `problem.${has(`problem.${code}`) ? code : MEANING[code]}`;
  return has(key) ? t(key) : null;
}

/** Return what an answer that is no success means. message: the server's own text, for codes that are new to this page. */
export function problemWords({ status, code, message }) {
  const reason = `reason.${code}`;
  const isDownload = status === 400 && has(reason) && (DOWNLOAD_REFUSED.has(code) || !textOf(code));
  if (isDownload) return t("problem.download", { reason: t(reason) });
  return textOf(code) ?? (status === 403 ? t("problem.forbidden") : message);
}

/** Return why a picture or a record could not be read. */
export function reasonWords(reason) {
  return has(`reason.${reason}`) ? t(`reason.${reason}`) : (textOf(reason) ?? reason);
}

/** Return why a finetune failed. */
export function finetuneWords({ code, message }) {
  return has(`finetune.error.${code}`) ? t(`finetune.error.${code}`) : (textOf(code) ?? message);
}
