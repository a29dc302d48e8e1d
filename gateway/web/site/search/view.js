// How two pictures that are compared are enlarged and moved: together, by wheel, pointer, two fingers and keys.

import { useRef, useState } from "../vendor/preact-htm.js";

export const MOST_ZOOM = 8;
export const START = { zoom: 1, x: 0, y: 0 };

/** Enlarge by a factor. at: what stays in its place, in fractions of the frame from its middle. */
export function zoomed(view, factor, at = { x: 0, y: 0 }) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const moved = (shift, place) => place - (zoom / view.zoom) * (place - shift);
  return bounded({ zoom, x: moved(view.x, at.x), y: moved(view.y, at.y) });
}

/** Keep the picture over the middle of the frame. x, y: the shift in fractions of the frame. */
function bounded({ zoom, x, y }) {
  const most = (zoom - 1) / 2;
  return { zoom, x: Math.min(most, Math.max(-most, x)), y: Math.min(most, Math.max(-most, y)) };
}

/** Return where a pointer is, in fractions of the frame from its middle. */
function placeOf({ currentTarget, clientX, clientY }) {
  const box = currentTarget.getBoundingClientRect();
  return { x: (clientX - box.left) / box.width - 0.5, y: (clientY - box.top) / box.height - 0.5 };
}

/** Return the middle of one or two places, and how far apart they are. */
function spanOf(places) {
  const [one, other = one] = places;
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2, apart: Math.hypot(one.x - other.x, one.y - other.y) };
}

/** Return the view of both pictures, and what listens to wheel, pointer and fingers. */
export function useView() {
  const [view, setView] = useState(START);
  const zoom = useRef(1);
  zoom.current = view.zoom;
  const held = useRef(new Map());
  const release = (event) => held.current.delete(event.pointerId);
  const handlers = {
    onWheel: (event) => {
      // What cannot be made smaller lets the dialog scroll.
      if (event.deltaY > 0 && zoom.current === 1) return;
      event.preventDefault();
      const at = placeOf(event);
      setView((now) => zoomed(now, event.deltaY < 0 ? 1.2 : 1 / 1.2, at));
    },
    onPointerDown: (event) => {
      if (event.button !== 0 || held.current.size > 1) return;
      held.current.set(event.pointerId, placeOf(event));
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      if (!held.current.has(event.pointerId)) return;
      const before = spanOf([...held.current.values()]);
      held.current.set(event.pointerId, placeOf(event));
      const after = spanOf([...held.current.values()]);
      const factor = before.apart > 0 ? after.apart / before.apart : 1;
      setView((now) => zoomed(bounded({ ...now, x: now.x + after.x - before.x, y: now.y + after.y - before.y }), factor, after));
    },
    onPointerUp: release,
    onPointerCancel: release,
  };
  return { view, setView, handlers };
}
