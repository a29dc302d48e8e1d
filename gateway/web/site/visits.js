// What belongs to a place in the browser's history, so that "back" shows what was there: how far it was scrolled, and
// what a screen keeps.

const MOST = 20;
const PATIENCE_MS = 4000;
const kept = new Map();
let current = null;
// Stops waiting for a page that is long enough.
let leave = () => {};

/** Return the number of a place in the history. A new one gets a number. */
function numbered() {
  const visit = history.state?.visit;
  if (visit) return visit;
  const made = `${Date.now()}.${Math.random()}`;
  history.replaceState({ ...history.state, visit: made }, "");
  return made;
}

/** Return what is kept for the place where the visitor is. It can be written to. */
export function here() {
  return kept.get(current) ?? {};
}

/** The address has changed: go to the top of a new place, and to where a known one was. */
export function arrived() {
  leave();
  current = numbered();
  const known = kept.get(current) ?? { top: 0 };
  const { top } = known;
  kept.delete(current);
  kept.set(current, known);
  if (kept.size > MOST) kept.delete(kept.keys().next().value);
  // The screen is drawn after this.
  requestAnimationFrame(() => scrollWhenPossible(top));
}

/** Scroll as soon as the page is long enough, unless the visitor scrolls before. */
function scrollWhenPossible(top) {
  const isLong = () => document.documentElement.scrollHeight >= top + innerHeight;
  if (isLong()) {
    scrollTo(0, top);
    return;
  }
  const observer = new ResizeObserver(() => {
    if (!isLong()) return;
    leave();
    scrollTo(0, top);
  });
  const timer = setTimeout(() => leave(), PATIENCE_MS);
  const give = () => leave();
  leave = () => {
    leave = () => {};
    observer.disconnect();
    clearTimeout(timer);
    removeEventListener("wheel", give);
    removeEventListener("touchmove", give);
  };
  addEventListener("wheel", give, { passive: true });
  addEventListener("touchmove", give, { passive: true });
  observer.observe(document.body);
}

/** Note from now on how far each place is scrolled. */
export function keepPlaces() {
  history.scrollRestoration = "manual";
  current = numbered();
  kept.set(current, { top: history.state.top ?? 0 });
  scrollWhenPossible(here().top);
  addEventListener("scroll", () => { here().top = scrollY; }, { passive: true });
  // A page that is loaded again knows only this.
  addEventListener("pagehide", () => history.replaceState({ ...history.state, top: scrollY }, ""));
}
