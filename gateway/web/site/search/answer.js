// The answer to a query: asked for once, and again by itself while the service is busy.

import { useEffect, useState } from "../vendor/preact-htm.js";
import { api } from "../api.js";
import { fieldsOf } from "./query.js";

const RESULTS = 100;
const BUSY_ATTEMPTS = 3;
const EMPTY = { results: null, problem: null, isSearching: false, waitingFor: null, key: null };

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  });
}

async function searched(query, signal, onWait) {
  const fields = await fieldsOf(query);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await api.search(query.collection, { ...fields, num_results: RESULTS }, signal);
    } catch (problem) {
      if (problem.name === "AbortError" || problem.status !== 429 || attempt >= BUSY_ATTEMPTS) throw problem;
      const seconds = Math.min(30, problem.retryAfter ?? 2);
      onWait(seconds);
      await pause(seconds, signal);
    }
  }
}

/** Return the answer to a query. repeated: a number that changes when the same query is asked again. */
export function useAnswer(query, repeated) {
  const [answer, setAnswer] = useState(EMPTY);
  const key = query && (query.kind !== "picture" || query.picture) ? query.key : null;
  useEffect(() => {
    if (!key) {
      setAnswer(EMPTY);
      return undefined;
    }
    const abort = new AbortController();
    const set = (changes) => abort.signal.aborted || setAnswer({ ...EMPTY, key, ...changes });
    set({ isSearching: true });
    searched(query, abort.signal, (waitingFor) => set({ isSearching: true, waitingFor })).then(
      (data) => set({ results: data.results }),
      (problem) => problem.name !== "AbortError" && set({ problem }),
    );
    return () => abort.abort();
  }, [key, repeated]);
  // Never the answer to the query before.
  return answer.key === key ? answer : { ...EMPTY, isSearching: key !== null };
}
