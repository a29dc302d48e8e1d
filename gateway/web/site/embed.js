// Similis on the pages of a repository: <similis-similar> and <similis-search>. docs/web.md describes them.

(() => {
  const script = document.currentScript ?? document.querySelector('script[src$="/embed.js"]');
  const HERE = script ? new URL(".", script.src).href : "";

  const TEXTS = {
    en: {
      similar: "Similar objects",
      choose: "Choose a picture, or drop it here",
      searching: "Searching …",
      nothing: "Nothing found.",
      failed: "The search does not work at the moment. Try again later.",
      unreadable: "This file is not a picture that can be read.",
      large: "This picture is too large.",
      busy: "Many people are searching. Try again in a few seconds.",
      results: "Results",
      sure: "Very probably a match",
      probable: "Probably a match",
      possible: "Perhaps a match",
      only: "Only similar",
      likeness: ["Extremely similar", "Very similar", "Similar", "Somewhat similar", "Hardly similar"],
    },
    de: {
      similar: "Ähnliche Objekte",
      choose: "Bild auswählen oder hier ablegen",
      searching: "Sucht …",
      nothing: "Nichts gefunden.",
      failed: "Die Suche geht gerade nicht. Versuchen Sie es später noch einmal.",
      unreadable: "Diese Datei ist kein Bild, das sich lesen lässt.",
      large: "Dieses Bild ist zu groß.",
      busy: "Gerade suchen viele. Versuchen Sie es in ein paar Sekunden noch einmal.",
      results: "Treffer",
      sure: "Fast sicher das Gesuchte",
      probable: "Wahrscheinlich das Gesuchte",
      possible: "Vielleicht das Gesuchte",
      only: "Nur ähnlich",
      likeness: ["Äußerst ähnlich", "Sehr ähnlich", "Ähnlich", "Etwas ähnlich", "Kaum ähnlich"],
    },
  };
  const PROBLEMS = { not_an_image: "unreadable", decode_error: "unreadable", invalid_base64: "unreadable", image_too_large: "large", image_too_slow: "large", image_crashed_decoder: "unreadable", overloaded: "busy", too_many_costly_images: "busy" };
  const LEAST = [99.9, 99, 95, 80];
  const MOST = { sure: 0.01, probable: 0.05, possible: 0.25 };
  // The place in LEAST from which on words do not contradict a high false match rate.
  const SOMEWHAT = 3;
  const MOST_RESULTS = 100;
  // Below this, results are hardly similar, and an item page is better without them.
  const LEAST_ALIKE = 80;

  // A separate style sheet: the policy of the page may forbid style elements.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { display: block; color: var(--similis-color, inherit); font: var(--similis-font, inherit); }
    :host([hidden]) { display: none; }
    .title { font-weight: 600; margin-bottom: 0.75em; }
    ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--similis-width, 9rem), 100%), 1fr)); gap: var(--similis-gap, 1rem); margin: 0; padding: 0; list-style: none; }
    li { min-width: 0; }
    .item { display: block; color: inherit; text-decoration: none; }
    a.item:hover .caption { color: var(--similis-accent, #0f5257); text-decoration: underline; }
    .picture { display: grid; place-items: center; aspect-ratio: var(--similis-ratio, 1); overflow: hidden; border-radius: var(--similis-radius, 8px); background: var(--similis-background, #8881); }
    img { display: block; width: 100%; height: 100%; object-fit: var(--similis-fit, contain); }
    .missing { padding: 0.5em; font-size: 0.8em; overflow-wrap: anywhere; text-align: center; }
    .caption { display: block; margin-top: 0.4em; font-size: 0.875em; line-height: 1.3; overflow-wrap: anywhere; }
    .drop { position: relative; display: block; margin-bottom: 1em; padding: 1.5em 1em; border: 1.5px dashed var(--similis-border, #888); border-radius: var(--similis-radius, 8px); background: var(--similis-background, #8881); text-align: center; cursor: pointer; }
    .drop.over { border-color: var(--similis-accent, #0f5257); }
    .drop input { position: absolute; inset: 0; width: 100%; opacity: 0; cursor: pointer; font-size: 0; }
    .drop:focus-within, a:focus-visible { outline: 3px solid var(--similis-accent, #0f5257); outline-offset: 2px; }
    .status { margin: 0 0 1em; }
    .status:empty { display: none; }
  `);

  function made(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  /** Return the URL if a link may lead there: http and https only. */
  function safeUrl(text) {
    if (typeof text !== "string" || !/^https?:\/\//i.test(text)) return null;
    try {
      return new URL(text).href;
    } catch {
      return null;
    }
  }

  /** Return the picture of a result. thumbnail: where the service may have it, if its host refuses it to this page. */
  function pictureOf(result, name, thumbnail) {
    const frame = made("span", { className: "picture", part: "picture" });
    const missing = () => frame.replaceChildren(made("span", { className: "missing" }, name));
    const url = safeUrl(result.image_url);
    const image = made("img", { alt: name, loading: "lazy", decoding: "async", referrerPolicy: "no-referrer" });
    image.onerror = () => {
      image.onerror = missing;
      image.src = thumbnail;
    };
    if (url) image.src = url;
    if (url) frame.append(image);
    else missing();
    return frame;
  }

  function captionOf(result, texts, isSearch) {
    const rate = isSearch ? result.false_match_rate : null;
    const sure = rate !== null && Object.keys(MOST).find((name) => rate <= MOST[name]);
    if (sure) return texts[sure];
    if (result.percentile === null) return "";
    const place = LEAST.findIndex((least) => result.percentile >= least);
    if (rate !== null && place >= 0 && place < SOMEWHAT) return texts.only;
    return texts.likeness[place < 0 ? LEAST.length : place];
  }

  function itemOf(result, texts, isSearch, images) {
    const entry = safeUrl(result.repo_url);
    const name = (result.repo_url || result.image_url).replace(/^https?:\/\/(www\.)?/i, "");
    const caption = captionOf(result, texts, isSearch);
    // Text in place of an entry's URL is what people know the object by.
    const shown = entry || !result.repo_url ? caption : `${result.repo_url}${caption && ` · ${caption}`}`;
    const content = [pictureOf(result, name, `${images}/${result.image_id}/thumbnail`), made("span", { className: "caption", part: "caption", textContent: shown })];
    const item = entry ? made("a", { className: "item", href: entry }, ...content) : made("span", { className: "item" }, ...content);
    item.part = "item";
    return made("li", {}, item);
  }

  class Widget extends HTMLElement {
    constructor() {
      super();
      this.root = this.attachShadow({ mode: "open" });
      this.root.adoptedStyleSheets = [sheet];
      this.running = null;
    }

    disconnectedCallback() {
      this.running?.abort();
    }

    get texts() {
      const language = this.closest("[lang]")?.lang || navigator.language;
      return TEXTS[language.toLowerCase().split("-")[0]] ?? TEXTS.en;
    }

    get count() {
      const wanted = Math.floor(Number(this.getAttribute("count")));
      return wanted >= 1 ? Math.min(wanted, MOST_RESULTS) : 8;
    }

    /** Return the address of the collection in the API. */
    get address() {
      const service = new URL(this.getAttribute("service") ?? HERE, document.baseURI).href.replace(/\/*$/, "/");
      return `${service}api/collection/${encodeURIComponent(this.getAttribute("collection") ?? "")}`;
    }

    /** Return the answer of the API to a request below the collection. Ends a request before it. */
    async ask(path, query, options = {}) {
      this.running?.abort();
      this.running = new AbortController();
      const answer = await fetch(`${this.address}/${path}?${new URLSearchParams(query)}`, {
        ...options,
        headers: { Accept: "application/json", ...options.headers },
        credentials: "omit",
        signal: this.running.signal,
      });
      const data = await answer.json();
      if (!answer.ok) throw Object.assign(new Error(data.message), { code: data.code });
      return data;
    }

    listOf(results, isSearch) {
      const list = made("ul", { ariaLabel: isSearch ? this.texts.results : this.texts.similar });
      list.part = "list";
      list.setAttribute("role", "list");
      list.append(...results.map((result) => itemOf(result, this.texts, isSearch, `${this.address}/images`)));
      return list;
    }

    report(name, detail) {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    }
  }

  const STARTS = { "image-id": "image_id", "image-url": "image_url", "repo-url": "repo_url" };

  class Similar extends Widget {
    static observedAttributes = ["collection", "count", "min-percentile", "service", ...Object.keys(STARTS)];

    connectedCallback() {
      this.update();
    }

    attributeChangedCallback() {
      if (this.isConnected) this.update();
    }

    /** Return whether a result is alike enough to be shown. */
    isAlike({ percentile }) {
      return percentile === null || percentile >= Number(this.getAttribute("min-percentile") ?? LEAST_ALIKE);
    }

    /** Show what is similar. Without any result, nothing is shown: an item page makes sense without it. */
    async update() {
      if (this.isQueued) return;
      // One request, however many attributes change together.
      this.isQueued = true;
      await null;
      this.isQueued = false;
      const start = Object.keys(STARTS).find((name) => this.hasAttribute(name));
      if (!this.isConnected || !start) return;
      try {
        const query = { [STARTS[start]]: this.getAttribute(start), num_results: this.count, group_by: "repo_url" };
        const results = (await this.ask("similar", query)).results.filter((result) => this.isAlike(result));
        const title = made("div", { className: "title", part: "title" }, made("slot", { name: "title", textContent: this.texts.similar }));
        this.root.replaceChildren(...(results.length ? [title, this.listOf(results, false)] : []));
        this.report("similis-results", { count: results.length });
      } catch (error) {
        if (error.name === "AbortError") return;
        this.root.replaceChildren();
        this.report("similis-error", { code: error.code ?? "unreachable", message: error.message });
      }
    }
  }

  class Search extends Widget {
    connectedCallback() {
      if (this.root.childNodes.length) return;
      const input = made("input", { type: "file", accept: "image/*,.tif,.tiff,.jp2" });
      const drop = made("label", { className: "drop" }, made("slot", { name: "prompt", textContent: this.texts.choose }), input);
      drop.part = "drop";
      this.status = made("p", { className: "status", role: "status" });
      this.found = made("div");
      this.root.append(drop, this.status, this.found);
      input.addEventListener("change", () => {
        const [file] = input.files;
        // The same file can be chosen again.
        if (file) this.search(file).finally(() => { input.value = ""; });
      });
      const over = (isOver) => (event) => {
        event.preventDefault();
        drop.classList.toggle("over", isOver);
      };
      drop.addEventListener("dragover", over(true));
      drop.addEventListener("dragleave", over(false));
      drop.addEventListener("drop", (event) => {
        over(false)(event);
        const [file] = event.dataTransfer.files;
        if (file) this.search(file);
      });
    }

    /** Search for a picture: a File or Blob. */
    async search(file) {
      const { texts } = this;
      this.status.textContent = texts.searching;
      this.found.replaceChildren();
      try {
        const query = { num_results: this.count, group_by: "repo_url" };
        const results = await this.ask("search", query, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
        this.status.textContent = results.length ? "" : texts.nothing;
        if (results.length) this.found.replaceChildren(this.listOf(results, true));
        this.report("similis-results", { count: results.length });
      } catch (error) {
        if (error.name === "AbortError") return;
        this.status.textContent = texts[PROBLEMS[error.code]] ?? texts.failed;
        this.report("similis-error", { code: error.code ?? "unreachable", message: error.message });
      }
    }
  }

  // A page may load the script twice.
  if (!customElements.get("similis-similar")) customElements.define("similis-similar", Similar);
  if (!customElements.get("similis-search")) customElements.define("similis-search", Search);
})();
