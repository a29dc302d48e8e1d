// Texts and numbers in the visitor's language. Every text is in lang/en.json and lang/de.json.

import { lasting } from "./storage.js";

export const LANGUAGES = { en: "English", de: "Deutsch" };

let texts = {};
let language = "en";
let plurals = new Intl.PluralRules("en");

export function preferredLanguage() {
  const chosen = lasting.get("language");
  if (chosen in LANGUAGES) return chosen;
  const wanted = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}

export async function loadLanguage(name) {
  const answer = await fetch(new URL(`./lang/${name}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`lang/${name}.json: ${answer.status}`);
  texts = await answer.json();
  language = name;
  plurals = new Intl.PluralRules(name);
  document.documentElement.lang = name;
}

export function currentLanguage() {
  return language;
}

/** Return a text. {name} is replaced by a value; a number `n` chooses between key.one and key.other. */
export function t(key, values = {}) {
  const form = typeof values.n === "number" ? `${key}.${plurals.select(values.n)}` : key;
  const text = texts[form] ?? texts[`${key}.other`] ?? texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? (typeof values[name] === "number" ? number(values[name]) : String(values[name])) : whole,
  );
}

export function has(key) {
  return key in texts;
}

export function number(value, options = {}) {
  return new Intl.NumberFormat(language, options).format(value);
}

export function date(iso) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

export function day(iso) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(new Date(iso));
}

export function duration(seconds) {
  if (seconds < 60) return t("time.seconds", { n: Math.max(1, Math.round(seconds)) });
  if (seconds < 5400) return t("time.minutes", { n: Math.round(seconds / 60) });
  return t("time.hours", { n: Math.round(seconds / 3600) });
}
