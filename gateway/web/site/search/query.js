// What a search looks for. Pictures that a visitor chose stay in this page; ids and URLs are in the address.

import { regionOf, regionText } from "./region.js";

const LARGEST_UPLOAD = 3 * 1024 * 1024;
const LONGEST_SIDE = 1600;

// How much a picture counts that results shall be less like.
const LESS = -0.5;

const chosen = new Map();
let newest = 0;
// Results that were shown, so that their pictures can be shown as part of a query.
const seen = new Map();

export function remember(collection, results) {
  for (const result of results) seen.set(`${result.collection_id ?? collection}/${result.image_id}`, result);
}

export function recall(collection, id) {
  return seen.get(`${collection}/${id}`) ?? null;
}

/** Keep a picture for this visit and return its number. "Back" finds it again. */
export function keep(file) {
  newest += 1;
  chosen.set(newest, { file, url: URL.createObjectURL(file), name: file.name ?? "" });
  return newest;
}

const BASES = { image_id: "id", image_url: "url", picture: "picture", text: "text" };

function ids(text) {
  return (text ?? "").split(",").map(Number).filter(Boolean);
}

/** Read the query from the parameters of the address. Return null if it has none. */
export function queryOf(parameters) {
  const name = Object.keys(BASES).find((one) => parameters.has(one));
  if (!name) return null;
  const collection = parameters.get("collection");
  const value = parameters.get(name);
  const [more, less] = [ids(parameters.get("more")), ids(parameters.get("less"))];
  return {
    kind: BASES[name],
    base: { [name]: value },
    collection,
    id: name === "image_id" ? Number(value) : null,
    url: name === "image_url" ? value : null,
    text: name === "text" ? value : null,
    picture: name === "picture" ? (chosen.get(Number(value)) ?? null) : null,
    more,
    less,
    isGrouped: parameters.has("group"),
    region: regionOf(parameters.get("region")),
    atLeast: Number(parameters.get("at_least")) || 0,
    key: JSON.stringify([collection, name, value, more, less, parameters.get("region"), parameters.has("group")]),
  };
}

/** Return the parameters of the address that repeat a query. */
export function parametersOf(query, changes = {}) {
  const { collection, base, more, less, region, isGrouped, atLeast } = query;
  return { collection, ...base, region: regionText(region), group: isGrouped ? 1 : null, more: more.join(","), less: less.join(","), at_least: atLeast || null, ...changes };
}

/** Return the parameters of the address that ask another collection, where no id of this one means anything. */
export function elsewhere(query, collection) {
  const base = query.kind === "id" ? asUrl(query) : query.base;
  if (!base) return { collection };
  return parametersOf({ ...query, base, more: [], less: [] }, { collection });
}

function asUrl(query) {
  const known = recall(query.collection, query.id);
  return known && { image_url: known.image_url };
}

/** Return the fields of the API's search that ask for this query. */
export async function fieldsOf(query) {
  const base = await baseOf(query);
  const grouped = query.isGrouped ? { group_by: "repo_url" } : {};
  const known = query.kind === "id" ? [query.id] : [];
  // The API leaves out the image that asks, unless only a part of it does.
  const itself = known.length && query.region ? { exclude: known } : {};
  if (!query.more.length && !query.less.length) return { ...base, ...grouped, ...itself };
  const more = query.more.map((id) => ({ image_id: id }));
  const less = query.less.map((id) => ({ image_id: id, weight: LESS }));
  return { ...grouped, examples: [base, ...more, ...less], exclude: [...known, ...query.more, ...query.less] };
}

async function baseOf(query) {
  if (query.kind === "text") return { text: query.text };
  const part = query.region ? { region: query.region } : {};
  if (query.kind === "id") return { image_id: query.id, ...part };
  if (query.kind === "url") return { image_url: query.url, ...part };
  return { ...part, image: await base64(await smaller(query.picture.file)) };
}

/** Return a picture as it is, or a smaller copy if its file is large and the browser can read it. */
async function smaller(file) {
  if (file.size <= LARGEST_UPLOAD) return file;
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(bitmap.width * scale);
    canvas.height = Math.round(bitmap.height * scale);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => {
      canvas.toBlob((blob) => resolve(blob ?? file), "image/jpeg", 0.92);
    });
  } catch {
    // Such as TIFF or HEIC, which the service may read although the browser does not.
    return file;
  }
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Return the first image among dropped or pasted items, or the first URL, or null. */
export function given(transfer) {
  const files = [...(transfer?.files ?? [])];
  const file = files.find((one) => one.type.startsWith("image/")) ?? files[0];
  if (file) return { file };
  const text = (transfer?.getData("text/uri-list") || transfer?.getData("text/plain") || "").trim().split(/\s/)[0];
  return /^https?:\/\//i.test(text) ? { url: text } : null;
}
