// The state of a collection, in words.

import { html, useCallback, useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { t } from "../language.js";
import { isBeingRead } from "./source.js";

const ACTIVE_MS = 1500;
const IDLE_MS = 20_000;
const AGAIN_MS = 5000;

export function isActive(info) {
  return info.finetuning_state === "queued" || info.finetuning_state === "running";
}

/** Return the name of a collection's state. */
export function stateOf(info) {
  if (isActive(info)) return info.finetuning_state;
  if (!info.number_of_images) return "empty";
  if (!info.requires_finetuning) return "current";
  if (info.quality?.provisional) return "provisional";
  if (info.finetuning_state === "failed") return "failed";
  return info.last_finetuned ? "changed" : "new";
}

export function StateMark({ info }) {
  const state = stateOf(info);
  const percent = Math.floor(info.finetuning_progess ?? 0);
  return html`<span class="state ${state}">${t(`collection.state.${state}`, { percent })}</span>`;
}

/** Return a collection's info, asked for again while something happens, and a function that asks at once. */
export function useLiveInfo(id) {
  const [state, setState] = useState({ info: null, problem: null });
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer = null;
    const ask = async () => {
      let wait = IDLE_MS;
      try {
        const info = await api.info(id, abort.signal);
        setState({ info, problem: null });
        if (isActive(info) || isBeingRead(info)) wait = ACTIVE_MS;
      } catch (problem) {
        if (problem.name === "AbortError") return;
        setState((now) => ({ info: problem.status === 400 ? null : now.info, problem }));
        if (problem.canPass) wait = Math.max(AGAIN_MS, 1000 * problem.retryAfter);
      }
      if (!abort.signal.aborted) timer = setTimeout(ask, wait);
    };
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [id, asked]);
  return { ...state, refresh: useCallback(() => setAsked((count) => count + 1), []) };
}
