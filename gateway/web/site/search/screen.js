// The search: what is looked for at the side, what was found beside it.

import { html, useCallback, useEffect, useMemo, useState } from "../vendor/preact-htm.js";
import { go, replace, write } from "../address.js";
import { api } from "../api.js";
import { land } from "../focus.js";
import { Icon, Notice, Spinner } from "../interface.js";
import { currentLanguage, t } from "../language.js";
import { KeyPanel, useKey } from "../manage/key.js";
import { lasting } from "../storage.js";
import { certainty, isMeasured, lowestRate, percentileFigure, rateInWords } from "../words.js";
import { Compare } from "./compare.js";
import { Gallery } from "./gallery.js";
import { CollectionChoice, Input } from "./input.js";
import { elsewhere, given, keep, parametersOf, queryOf } from "./query.js";
import { QueryPicture } from "./query_picture.js";
import { regionText } from "./region.js";
import { useAnswer } from "./answer.js";

// Most scores of results lie near 100, so the steps are finer there.
const STEPS = [0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99];

// In place of a collection's id.
const ALL = "all";
// The API takes 16 examples; one is the picture that was looked for first.
const MOST_EXAMPLES = 7;

function useCollections(attempt) {
  const [state, setState] = useState({ list: null, problem: null });
  useEffect(() => {
    const abort = new AbortController();
    api.collections(abort.signal).then(
      (answer) => setState({ list: answer.names, problem: null }),
      (problem) => problem.name !== "AbortError" && setState({ list: null, problem }),
    );
    return () => abort.abort();
  }, [attempt]);
  return state;
}

function useInfo(id) {
  const [info, setInfo] = useState(null);
  useEffect(() => {
    setInfo(null);
    if (!id) return undefined;
    const abort = new AbortController();
    api.info(id, abort.signal).then(setInfo, () => {});
    return () => abort.abort();
  }, [id]);
  return info?.id === id ? info : null;
}

/** Let a picture be dropped anywhere on the page, or pasted. */
function useDropAndPaste(onGiven) {
  const [isOver, setIsOver] = useState(false);
  useEffect(() => {
    const carries = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");
    const over = (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      setIsOver(true);
    };
    const leave = (event) => event.relatedTarget === null && setIsOver(false);
    const drop = (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      setIsOver(false);
      onGiven(given(event.dataTransfer));
    };
    const paste = (event) => {
      const isFile = event.clipboardData?.files.length > 0;
      if (!isFile && event.target.closest?.("input, textarea")) return;
      onGiven(given(event.clipboardData));
    };
    const listeners = { dragover: over, dragleave: leave, drop, paste };
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener);
    };
  }, [onGiven]);
  return isOver;
}

function hasExamples({ more, less }) {
  return more.length + less.length > 0;
}

/** Return whether somebody may ask if the collection has the picture. Who starts from its own pictures does not. */
function asksWhether(query) {
  return (query.kind === "picture" || query.kind === "url") && !hasExamples(query);
}

function Headline({ sure = "", title, why }) {
  return html`<div class="verdict ${sure}">
    <h2 class="headline">${sure && html`<span class="certainty ${sure}" aria-hidden="true"></span>`}${title}</h2>
    <p>${why} <a href=${write("help", { about: "figures" })}>${t("verdict.help")}</a></p>
  </div>`;
}

/** What the results are, and how sure the best match is. rate: the lowest false match rate, or null. */
function Verdict({ rate, query }) {
  // It was measured with single, whole pictures.
  const estimate = (about) => (isMeasured(rate) ? ` ${t(`verdict.estimate.${about}`)}` : "");
  if (hasExamples(query)) {
    const why = t(query.less.length ? "verdict.examples.less" : "verdict.examples.why");
    return html`<${Headline} title=${t("verdict.examples")} why=${why + estimate("examples")} />`;
  }
  if (query.kind === "text") return html`<${Headline} title=${t("verdict.text")} why=${t("verdict.text.why")} />`;
  const part = query.region ? estimate("part") : "";
  if (!asksWhether(query)) return html`<${Headline} title=${t("verdict.similar")} why=${t("verdict.similar.why") + part} />`;
  const sure = certainty(rate);
  const title = t(`verdict.${sure}${query.collection === ALL && sure !== "unknown" ? ".all" : ""}`);
  return html`<${Headline} sure=${sure} title=${title} why=${t(`verdict.${sure}.why`, { rate: rateInWords(rate) }) + part} />`;
}

function Threshold({ value, onChange, shown, all, isPart }) {
  const step = Math.max(0, STEPS.findLastIndex((least) => least <= value));
  const text = value ? t("threshold.at_least", { figure: percentileFigure(value) }) : t("threshold.all");
  return html`<div class="threshold">
    <label for="threshold">${t("threshold")}</label>
    <input
      id="threshold"
      type="range"
      min="0"
      max=${STEPS.length - 1}
      step="1"
      value=${step}
      aria-valuetext=${text}
      onInput=${(event) => onChange(STEPS[event.target.valueAsNumber])}
    />
    <p><strong>${text}</strong><span role="status">${t(`threshold.${shown < all ? "some" : "each"}${isPart ? "_first" : ""}`, { n: shown, all })}</span></p>
  </div>`;
}

function titleOf({ status, isBusy }) {
  if (status === 429) return t("state.busy");
  return t(isBusy ? "state.unavailable" : "state.failed");
}

/** What a search that failed says, and what can be done. */
function Failure({ problem, query, onRepeat }) {
  if (problem.code === "not_finetuned" || problem.code === "backbone_changed") {
    return html`<${NotFinetuned} id=${query.collection} words=${problem.words} />`;
  }
  return html`<${Notice} kind=${problem.isBusy ? "busy" : "problem"} title=${titleOf(problem)}>
    <p>${problem.words}</p>
    ${problem.requestId && problem.status >= 500 && html`<p class="faint">${t("problem.request_id", { id: problem.requestId })}</p>`}
    ${(problem.canPass || query.kind !== "picture") && html`<p><button type="button" class="button" onClick=${onRepeat}>${t("again")}</button></p>`}
  </${Notice}>`;
}

function Results({ answer, query, names, onRepeat, onSimilar, onExample }) {
  const { results, problem, isSearching, waitingFor, next, more } = answer;
  const [atLeast, setAtLeast] = useState(query.atLeast);
  const [open, setOpen] = useState(null);
  useEffect(() => setAtLeast(query.atLeast), [query.key]);
  const isSettled = Boolean(problem || results);
  useEffect(() => {
    if (isSettled) land(document.querySelector(".search.active section h2"));
  }, [query.key, isSettled]);
  const shown = useMemo(
    () => (results ?? []).filter((result) => !atLeast || result.percentile === null || result.percentile >= atLeast),
    [results, atLeast],
  );
  const filter = useCallback(
    (value) => {
      setAtLeast(value);
      replace("search", parametersOf(query, { at_least: value || null }));
    },
    [query.key],
  );
  if (problem) return html`<${Failure} ...${{ problem, query, onRepeat }} />`;
  if (isSearching || !results) {
    return html`<${Spinner} label=${waitingFor ? t("state.waiting", { n: waitingFor }) : t("state.searching")} />`;
  }
  if (!results.length) return html`<${Notice} title=${t("state.nothing")}><p>${t("state.nothing.why")}</p></${Notice}>`;
  // Results come in falling order, so that nothing beyond the last one is more alike.
  const skipped = answer.skipped.map((one) => names?.get(one.collection_id) ?? one.collection_id);
  const hasMore = next !== null && shown.length === results.length;
  const hasPercentiles = results.some((result) => isMeasured(result.percentile));
  // The verdict says it already.
  const rate = lowestRate(results);
  const isSaid = asksWhether(query) && !isMeasured(rate);
  // Nothing is measured for descriptions, as the verdict says.
  const isUnmeasured = !isSaid && query.kind !== "text" && results.some((result) => !isMeasured(result.false_match_rate));
  return html`
    <div class="summary">
      <${Verdict} rate=${rate} query=${query} />
      <div>
        ${hasPercentiles && html`<${Threshold} value=${atLeast} onChange=${filter} shown=${shown.length} all=${results.length} isPart=${next !== null} />`}
        <label class="option"><input type="checkbox" checked=${query.isGrouped} onChange=${(event) => go("search", parametersOf(query, { group: event.target.checked ? 1 : null }))} />${t("group")}</label>
        ${onExample && html`<p class="faint">${t("results.hint")}</p>`}
      </div>
    </div>
    ${(isUnmeasured || skipped.length > 0) &&
    html`<div class="notes faint">
      ${isUnmeasured && html`<p>${t("results.unmeasured")}</p>`}
      ${skipped.length > 0 && html`<p>${t("results.skipped", { names: skipped.join(", ") })}</p>`}
    </div>`}
    ${shown.length
      ? html`<${Gallery} key=${query.key} collection=${query.collection} results=${shown} hasMore=${hasMore} isText=${query.kind === "text"} language=${currentLanguage()} onOpen=${setOpen} onEnd=${hasMore ? more : null} ...${{ names, onSimilar, onExample }} />`
      : html`<${Notice} title=${t("state.all_filtered")}>
          <p><button type="button" class="button" onClick=${() => filter(0)}>${t("state.all_filtered.do")}</button></p>
        </${Notice}>`}
    ${open !== null &&
    shown[open] &&
    html`<${Compare} results=${shown} place=${open} query=${query} onPlace=${setOpen} onClose=${() => setOpen(null)} onSimilar=${onSimilar} />`}
  `;
}

/** Asks for a key where reading needs one. */
function KeyGate({ onKnown }) {
  const access = useKey();
  useEffect(() => {
    if (access.rights) onKnown();
  }, [access.rights]);
  return html`<${KeyPanel} ...${access} />`;
}

function NoCollections() {
  return html`<${Notice} title=${t("state.no_collections")}>
    <p>${t("state.no_collections.why")}</p>
    <p><a class="button" href="#/manage">${t("state.no_collections.do")}</a></p>
  </${Notice}>`;
}

function NotFinetuned({ id, words = t("problem.not_finetuned") }) {
  return html`<${Notice} title=${t("state.not_finetuned")}>
    <p>${words}</p>
    <p><a class="button" href=${`#/manage?collection=${id}`}>${t("state.not_finetuned.do")}</a></p>
  </${Notice}>`;
}

export function SearchScreen({ parameters }) {
  const [attempt, setAttempt] = useState(0);
  const collections = useCollections(attempt);
  const wanted = parameters.get("collection") ?? lasting.get("collection");
  const isAll = wanted === ALL;
  const collection = isAll ? ALL : (collections.list?.find((one) => String(one.id) === wanted)?.id ?? collections.list?.[0]?.id ?? null);
  const query = useMemo(() => queryOf(parameters), [parameters.toString()]);
  const info = useInfo(Number(query?.collection ?? collection) || null);
  const isSearchable = !info || info.last_finetuned !== null;
  // Only where results may come from several collections.
  const names = useMemo(
    () => (query?.collection === ALL && collections.list ? new Map(collections.list.map((one) => [one.id, one.name])) : null),
    [query?.collection, collections.list],
  );
  const [repeated, setRepeated] = useState(0);
  const answer = useAnswer(query, repeated);

  const choose = useCallback(
    (id) => {
      lasting.set("collection", id);
      go("search", query ? elsewhere(query, id) : { collection: id });
    },
    [query],
  );
  // The choice stays for the next question.
  const group = query?.isGrouped ? 1 : null;
  const start = useCallback(
    (found) => {
      const target = query?.collection ?? collection;
      if (!found || !target || !isSearchable) return;
      go("search", { collection: target, group, ...(found.file ? { picture: keep(found.file) } : found.url ? { image_url: found.url } : { text: found.text }) });
    },
    [query, collection, isSearchable],
  );
  const similar = useCallback(
    (result) => go("search", { collection: result.collection_id ?? query?.collection ?? collection, image_id: result.image_id, group }),
    [query, collection],
  );
  const refine = useCallback(
    (sign, result) => {
      const add = (list) => [...list.filter((id) => id !== result.image_id), result.image_id].slice(-MOST_EXAMPLES);
      const drop = (list) => list.filter((id) => id !== result.image_id);
      const [more, less] = sign === "more" ? [add(query.more), drop(query.less)] : [drop(query.more), add(query.less)];
      go("search", parametersOf(query, { more: more.join(","), less: less.join(",") }));
    },
    [query],
  );
  const withdraw = (id) => {
    const drop = (list) => list.filter((one) => one !== id).join(",");
    go("search", parametersOf(query, { more: drop(query.more), less: drop(query.less) }));
  };
  const draw = (region) => go("search", parametersOf(query, { region: regionText(region) }));
  const isOver = useDropAndPaste(start);

  if (collections.problem?.status === 403) {
    return html`<div key="empty" class="search empty">
      <h1 tabindex="-1">${t("search.title")}</h1>
      <p class="lead">${t("key.reading")}</p>
      <div class="ask"><${KeyGate} onKnown=${() => setAttempt(attempt + 1)} /></div>
    </div>`;
  }
  if (collections.problem) {
    return html`<div key="empty" class="search empty">
      <h1 tabindex="-1">${t("search.title")}</h1>
      <${Failure} problem=${collections.problem} query=${{}} onRepeat=${() => setAttempt(attempt + 1)} />
    </div>`;
  }
  if (!collections.list) return html`<div key="empty" class="search empty"><h1 tabindex="-1">${t("search.title")}</h1><${Spinner} /></div>`;
  const choice = html`<${CollectionChoice} list=${collections.list} value=${query?.collection ?? collection} onChange=${choose} info=${info} />`;
  const over = isOver && html`<div class="over" aria-hidden="true"><p><${Icon} name="upload" />${t("input.drop_here")}</p></div>`;
  if (!query) {
    return html`<div key="empty" class="search empty">
      <h1 tabindex="-1">${t("search.title")}</h1>
      <p class="lead">${t("search.lead")}</p>
      ${collections.list.length > 0
        ? html`<div class="ask">${choice}${isSearchable ? html`<${Input} onGiven=${start} />` : html`<${NotFinetuned} id=${info.id} />`}</div>`
        : html`<${NoCollections} />`}
      ${over}
    </div>`;
  }
  return html`<div key="active" class="search active">
    <aside aria-label=${t("search.query")}>
      <h1 tabindex="-1" class="hidden">${t("search.title")}</h1>
      <${QueryPicture} query=${query} onRemove=${withdraw} onRegion=${draw} />
      ${choice}
      <${Input} onGiven=${start} isSmall=${true} />
    </aside>
    <section aria-label=${t("results")} aria-busy=${answer.isSearching ? "true" : "false"}>
      ${query.kind === "picture" && !query.picture
        ? html`<${Notice} title=${t("state.forgotten")}><p>${t("state.forgotten.why")}</p></${Notice}>`
        : html`<${Results} answer=${answer} query=${query} onRepeat=${() => setRepeated(repeated + 1)} onSimilar=${similar} onExample=${query.collection === ALL ? null : refine} names=${names} />`}
    </section>
    ${over}
  </div>`;
}
