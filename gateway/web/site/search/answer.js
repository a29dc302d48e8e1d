// The answer to a query: asked for once, and again by itself while the service is busy.

import { useCallback, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { here } from "../visits.js";
import { fieldsOf, remember } from "./query.js";

const RESULTS = 100;
const BUSY_ATTEMPTS = 3;
const EMPTY = { results: null, skipped: [], next: null, problem: null, isSearching: false, waitingFor: null, key: null };

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  });
}

async function searched(query, fields, offset, signal, onWait) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await api.search(query.collection, { ...fields, offset, num_results: RESULTS }, signal);
    } catch (problem) {
      if (problem.name === "AbortError" || problem.status !== 429 || attempt >= BUSY_ATTEMPTS) throw problem;
      const seconds = Math.min(30, problem.retryAfter ?? 2);
      onWait(seconds);
      await pause(seconds, signal);
    }
  }
}

/**
 * Return the answer to a query, and a function that asks for more results. repeated: a number that changes when the same
 * query is asked again.
 */
export function useAnswer(query, repeated) {
  const [answer, setAnswer] = useState(EMPTY);
  const run = useRef(null);
  const key = query && (query.kind !== "picture" || query.picture) ? query.key : null;
  useEffect(() => {
    if (!key) {
      setAnswer(EMPTY);
      return undefined;
    }
    const abort = new AbortController();
    const { signal } = abort;
    const set = (changes) => signal.aborted || setAnswer({ ...EMPTY, key, ...changes });
    const before = repeated ? null : here().answer;
    const start = async () => {
      try {
        const fields = await fieldsOf(query);
        run.current = { query, fields, signal, isBusy: false };
        if (before?.key === key) return;
        const data = await searched(query, fields, 0, signal, (waitingFor) => set({ isSearching: true, waitingFor }));
        remember(query.collection, data.results);
        set({ results: data.results, skipped: data.skipped ?? [], next: data.next_offset ?? null });
      } catch (problem) {
        if (problem.name !== "AbortError") set({ problem });
      }
    };
    if (before?.key === key) setAnswer(before);
    else set({ isSearching: true });
    start();
    return () => abort.abort();
  }, [key, repeated]);
  // "Back" shows it again at once.
  if (answer.results && answer.key === key) here().answer = answer;

  const next = answer.key === key ? answer.next : null;
  const more = useCallback(async () => {
    const current = run.current;
    if (next === null || !current || current.isBusy || current.signal.aborted) return;
    current.isBusy = true;
    try {
      const data = await searched(current.query, current.fields, next, current.signal, () => {});
      remember(current.query.collection, data.results);
      if (!current.signal.aborted) setAnswer((now) => ({ ...now, results: [...now.results, ...data.results], next: data.next_offset ?? null }));
    } catch {
      // What is there stays; scrolling further asks again.
    }
    current.isBusy = false;
  }, [next]);
  // Never the answer to the query before.
  return { ...(answer.key === key ? answer : { ...EMPTY, isSearching: key !== null }), more };
}
