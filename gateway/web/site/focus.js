// Keeps the place of people who use the keyboard: when the thing that has the focus goes away, the heading above it gets
// the focus.

const FOCUSABLE = "h1, h2, h3";

/** Give an element the focus that is not reached by Tab. */
export function focusOn(element) {
  if (!element) return;
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
}

function isLost() {
  return !document.activeElement || document.activeElement === document.body;
}

let hasActed = false;
for (const act of ["keydown", "pointerdown"]) addEventListener(act, () => { hasActed = true; }, { capture: true, once: true });

/** Give something that has arrived the focus, if the visitor caused it and has not gone elsewhere meanwhile. */
export function land(element) {
  if (hasActed && (isLost() || document.activeElement.matches(FOCUSABLE))) focusOn(element);
}

/** Watch a part of the page. */
export function keepFocus(root) {
  // What had the focus, and what it is in, from the inside out.
  let trail = [];
  const follow = ({ target }) => {
    trail = [];
    for (let one = target; one && one !== root.parentNode; one = one.parentNode) trail.push(one);
  };
  const mend = () => {
    const [held] = trail;
    const isGone = held && (!held.isConnected || held.disabled);
    if (!isGone || !(isLost() || document.activeElement === held)) return;
    const within = trail.find((one) => one.isConnected && one !== held && one.querySelector(FOCUSABLE));
    focusOn(within?.querySelector(FOCUSABLE));
  };
  root.addEventListener("focusin", follow);
  new MutationObserver(mend).observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
}
