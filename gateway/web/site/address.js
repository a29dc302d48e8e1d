// The part of the address after "#": the screen and its parameters. It works at any path of any host.

export function read() {
  const [screen, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { screen: screen || "search", parameters: new URLSearchParams(query) };
}

export function write(screen, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  return `#/${screen}${query.size ? `?${query}` : ""}`;
}

export function go(screen, parameters) {
  location.hash = write(screen, parameters);
}

export function replace(screen, parameters) {
  history.replaceState(history.state, "", write(screen, parameters));
}

/** Return the URL if a link may lead there: http and https only. */
export function safeUrl(text) {
  if (typeof text !== "string" || !/^https?:\/\//i.test(text)) return null;
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
