// Small values that outlast a page view. Everything works without them, because browsers can block storage.

function guarded(storage) {
  return {
    get(name) {
      try {
        return storage().getItem(`similis-${name}`);
      } catch {
        return null;
      }
    },
    set(name, value) {
      try {
        if (value === null) storage().removeItem(`similis-${name}`);
        else storage().setItem(`similis-${name}`, value);
      } catch {
        // Storage is blocked or full.
      }
    },
  };
}

export const lasting = guarded(() => localStorage);
export const session = guarded(() => sessionStorage);
