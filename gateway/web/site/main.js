// The page: header, the screen that the address names, and footer.

import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { read } from "./address.js";
import { focusOn, keepFocus } from "./focus.js";
import { Icon, Notice, Spinner } from "./interface.js";
import { currentLanguage, LANGUAGES, loadLanguage, preferredLanguage, t } from "./language.js";
import { SearchScreen } from "./search/screen.js";
import { lasting } from "./storage.js";
import { arrived, keepPlaces } from "./visits.js";

// The other screens are loaded when somebody goes there.
const SCREENS = {
  search: () => SearchScreen,
  manage: async () => (await import("./manage/screen.js")).ManageScreen,
  help: async () => (await import("./help/screen.js")).HelpScreen,
};

function useAddress() {
  const [address, setAddress] = useState(read);
  useEffect(() => {
    const changed = () => {
      setAddress(read());
      arrived();
    };
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return address;
}

/** Give the focus to the heading of a screen that somebody went to, or to the one that the address names. */
function useFocusOnHeading(place, isThere) {
  const before = useRef(place);
  useEffect(() => {
    if (!isThere || before.current === place) return;
    before.current = place;
    focusOn(document.querySelector("main [data-landing]") ?? document.querySelector("main h1"));
  }, [place, isThere]);
}

function useScreen(name) {
  const [loaded, setLoaded] = useState({ search: SearchScreen });
  const [failed, setFailed] = useState(null);
  useEffect(() => {
    if (loaded[name]) return;
    Promise.resolve(SCREENS[name]()).then(
      (screen) => setLoaded((now) => ({ ...now, [name]: screen })),
      () => setFailed(name),
    );
  }, [name]);
  return { Screen: loaded[name], hasFailed: failed === name };
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function ThemeButton() {
  const [dark, setDark] = useState(isDark);
  const turn = () => {
    const theme = dark ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    lasting.set("theme", theme);
    setDark(!dark);
  };
  return html`<button type="button" class="round" onClick=${turn} aria-label=${t(dark ? "theme.light" : "theme.dark")}><${Icon} name=${dark ? "sun" : "moon"} /></button>`;
}

function LanguageChoice({ onChange }) {
  return html`<div class="languages" role="group" aria-label=${t("language")}>
    ${Object.entries(LANGUAGES).map(
      ([name, title]) =>
        html`<button type="button" lang=${name} title=${title} aria-pressed=${currentLanguage() === name ? "true" : "false"} onClick=${() => onChange(name)}>
          <span aria-hidden="true">${name.toUpperCase()}</span><span class="hidden">${title}</span>
        </button>`,
    )}
  </div>`;
}

function Header({ screen, onLanguage }) {
  const skip = () => document.querySelector("main h1")?.focus();
  return html`<header class="top">
    <button type="button" class="skip" onClick=${skip}>${t("skip")}</button>
    <a class="brand" href="#/search"><img src=${new URL("./icon.svg", import.meta.url)} alt="" width="28" height="28" /><span>Similis</span></a>
    <nav aria-label=${t("navigation")}>
      ${Object.keys(SCREENS).map(
        (name) => html`<a href=${`#/${name}`} aria-current=${screen === name ? "page" : undefined}>${t(`screen.${name}`)}</a>`,
      )}
    </nav>
    <${LanguageChoice} onChange=${onLanguage} />
    <${ThemeButton} />
  </header>`;
}

function Page() {
  const { screen: wanted, parameters } = useAddress();
  const screen = wanted in SCREENS ? wanted : "search";
  const [, setLanguage] = useState(currentLanguage());
  const { Screen, hasFailed } = useScreen(screen);
  // A search keeps the place in its own way.
  const place = screen === "search" ? screen : `${screen} ${parameters.get("collection")} ${parameters.get("show")}`;
  useFocusOnHeading(place, Boolean(Screen));
  const change = async (name) => {
    await loadLanguage(name);
    lasting.set("language", name);
    setLanguage(name);
  };
  useEffect(() => {
    document.title = screen === "search" ? "Similis" : `${t(`screen.${screen}`)} · Similis`;
  }, [screen, currentLanguage()]);
  return html`
    <${Header} screen=${screen} onLanguage=${change} />
    <main>
      ${Screen && html`<${Screen} parameters=${parameters} />`}
      ${!Screen && !hasFailed && html`<${Spinner} />`}
      ${hasFailed && html`<${Notice} kind="problem" title=${t("state.failed")}><p>${t("problem.unreachable")}</p></${Notice}>`}
    </main>
  `;
}

async function start() {
  try {
    await loadLanguage(preferredLanguage());
  } catch {
    document.getElementById("page").textContent = "Similis cannot be reached. Reload the page. Similis ist nicht erreichbar. Laden Sie die Seite neu.";
    return;
  }
  const page = document.getElementById("page");
  keepPlaces();
  render(html`<${Page} />`, page);
  keepFocus(page);
}

start();
