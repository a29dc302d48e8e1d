// Calls of the REST API.

import { t } from "./language.js";
import { problemWords } from "./problem_words.js";
import { session } from "./storage.js";

/** An answer that is no success. `code` is stable; "offline" and "unreachable" are the page's own. */
export class Problem extends Error {
  constructor({ status = 0, code, message, retryAfter = null, requestId = null }) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
    this.requestId = requestId;
  }

  /** Say in the visitor's language what happened and what to do. */
  get words() {
    return problemWords(this);
  }

  /** Whether it may pass by itself: then the same request can succeed later. */
  get canPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  get isBusy() {
    return this.status === 429 || (this.status > 500 && this.status <= 504);
  }
}

export const key = {
  get: () => session.get("key"),
  set: (value) => session.set("key", value),
};

function headersFor(given) {
  const secret = key.get();
  return secret ? { "API-Key": secret, ...given } : given;
}

export async function call(path, { method = "GET", json, body, headers = {}, query = {}, signal } = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const address = `${path}${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`;
  const options = { method, signal, body, headers: headersFor({ Accept: "application/json", ...headers }) };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }
  const answer = await answered(address, options);
  return decoded(answer.status, answer.headers, await answer.text());
}

async function answered(address, options) {
  try {
    return await fetch(`api/${address}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

function unreachable() {
  const code = navigator.onLine === false ? "offline" : "unreachable";
  return new Problem({ code, message: t(`problem.${code}`) });
}

// What a status means if a proxy answers in place of the service, without JSON.
const OF_PROXY = { 413: "too_large", 429: "rate_limited", 502: "unreachable", 503: "unreachable", 504: "unreachable" };

function decoded(status, headers, text) {
  let data = null;
  try {
    data = JSON.parse(text);
  } catch {
    // A proxy answered.
  }
  if (status >= 200 && status < 300 && data !== null) return data;
  const code = data?.code ?? OF_PROXY[status] ?? "unreadable_answer";
  throw new Problem({
    status,
    code,
    message: data?.message ?? t(`problem.${code}`),
    retryAfter: Number(headers.get("Retry-After")) || null,
    requestId: data?.request_id ?? null,
  });
}

/** Send a file. onProgress gets the share that was sent, 0 to 1: fetch cannot tell. */
function sent(path, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/${path}`);
    for (const [name, value] of Object.entries(headersFor({ "Content-Type": "text/csv" }))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.upload.onload = () => onProgress(1);
    request.onerror = () => reject(unreachable());
    request.onload = () => {
      const headers = new Headers({ "Retry-After": request.getResponseHeader("Retry-After") ?? "" });
      try {
        resolve(decoded(request.status, headers, request.responseText));
      } catch (problem) {
        reject(problem);
      }
    };
    request.send(file ?? "");
  });
}

const post = (path, json, query) => call(path, { method: "POST", json, query });

export const api = {
  collections: (signal) => call("collection/list", { signal }),
  info: (id, signal) => call(`collection/${id}/info`, { signal }),
  about: (signal) => call("info", { signal }),
  search: (id, json, signal) => call(id === "all" ? "search" : `collection/${id}/search`, { method: "POST", json, signal }),
  verify: (secret, signal) => call("verify", { method: "POST", headers: { "API-Key": secret }, signal }),
  create: (json) => post("collection/create", json),
  rename: (id, name) => post(`collection/${id}/updatename`, { name }),
  upload: (id, file, onProgress) => sent(`collection/${id}/updatecontent`, file, onProgress),
  finetune: (id, force) => post(`collection/${id}/finetune`, undefined, force ? { force: true } : {}),
  readSource: (id) => post(`collection/${id}/source/read`),
  source: (id, signal) => call(`collection/${id}/source`, { signal }),
  schedule: (id, json) => post(`collection/${id}/source/schedule`, json),
  cancelReading: (id) => post(`collection/${id}/source/cancel`),
  cancel: (id) => post(`collection/${id}/finetune/cancel`),
  remove: (id) => post(`collection/${id}/delete`),
  failures: (id, limit, signal) => call(`collection/${id}/failures`, { query: { limit }, signal }),
  images: (id, query, signal) => call(`collection/${id}/images`, { query, signal }),
  image: (id, image, signal) => call(`collection/${id}/images/${image.image_id}`, { signal }),
  addImages: (id, images) => post(`collection/${id}/images`, { images }),
  removeImages: (id, ids) => post(`collection/${id}/images/delete`, { image_ids: ids }),
  duplicates: (id, query, signal) => call(`collection/${id}/duplicates`, { query, signal }),
  indexes: (id, signal) => call(`collection/${id}/indexes`, { signal }),
  /** Return a file of the service as a blob. */
  async file(path, type) {
    const answer = await answered(path, { headers: headersFor({ Accept: type }) });
    return answer.ok ? answer.blob() : decoded(answer.status, answer.headers, await answer.text());
  },
};
