// The visitor's key: kept for this browser session only.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { api, key } from "../api.js";
import { date, t } from "../language.js";

const RANK = { read: 1, write: 2, admin: 3 };

/** Return what the stored key may do, and a function that changes it. */
export function useKey() {
  const [secret, setSecret] = useState(key.get());
  const [state, setState] = useState({ rights: null, problem: null, isChecking: Boolean(secret) });
  useEffect(() => {
    if (!secret) {
      setState({ rights: null, problem: null, isChecking: false });
      return undefined;
    }
    const abort = new AbortController();
    setState({ rights: null, problem: null, isChecking: true });
    api.verify(secret, abort.signal).then(
      (answer) => {
        key.set(secret);
        // Keys without a scope may do everything.
        const { scope = "admin", collections = null, expires_at: expires = null } = answer;
        setState({ rights: { scope, collections, expires }, problem: null, isChecking: false });
      },
      (problem) => {
        if (problem.name === "AbortError") return;
        if (problem.status === 403) key.set(null);
        setState({ rights: null, problem, isChecking: false });
      },
    );
    return () => abort.abort();
  }, [secret]);
  const change = (value) => {
    if (!value) key.set(null);
    setSecret(value);
  };
  return { ...state, change };
}

/** Return whether a key may do something. scope: "read", "write" or "admin". collection: an id, or null for a new one. */
export function may(rights, scope, collection = null) {
  if (!rights || RANK[rights.scope] < RANK[scope]) return false;
  return rights.collections === null || (collection !== null && rights.collections.includes(collection));
}

export function KeyPanel({ rights, problem, isChecking, change }) {
  const [text, setText] = useState("");
  if (rights) {
    return html`<div class="key known">
      <p>
        <strong>${t(`key.${rights.scope}`)}</strong>
        ${rights.collections && html` ${t("key.collections", { n: rights.collections.length })}`}
        ${rights.expires && html` ${t("key.until", { date: date(rights.expires) })}`}
      </p>
      <button type="button" class="button" onClick=${() => change(null)}>${t("key.forget")}</button>
    </div>`;
  }
  const submit = (event) => {
    event.preventDefault();
    if (text.trim()) change(text.trim());
    setText("");
  };
  return html`<form class="key" onSubmit=${submit}>
    <label for="key">${t("key.enter")}</label>
    <div class="joined">
      <input id="key" type="password" autocomplete="off" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)}
        aria-describedby="key-about" aria-invalid=${problem ? "true" : "false"} />
      <button type="submit" class="button primary" disabled=${isChecking}>${t("key.use")}</button>
    </div>
    ${problem
      ? html`<p id="key-about" class="wrong" role="alert">${problem.status === 403 ? t("key.wrong") : problem.words}</p>`
      : html`<p id="key-about" class="faint">${t("key.about")}</p>`}
  </form>`;
}
