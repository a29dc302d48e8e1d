// What a search looks for. Pictures that a visitor chose stay in this page; ids and URLs are in the address.

const LARGEST_UPLOAD = 3 * 1024 * 1024;
const LONGEST_SIDE = 1600;

const chosen = new Map();
let newest = 0;

/** Keep a picture for this visit and return its number. "Back" finds it again. */
export function keep(file) {
  newest += 1;
  chosen.set(newest, { file, url: URL.createObjectURL(file), name: file.name ?? "" });
  return newest;
}

/** Read the query from the parameters of the address. Return null if it has none. */
export function queryOf(parameters) {
  const collection = parameters.get("collection");
  const about = { collection, atLeast: Number(parameters.get("at_least")) || 0 };
  if (parameters.has("image_id")) {
    return { ...about, kind: "id", id: Number(parameters.get("image_id")), key: `${collection}/id/${parameters.get("image_id")}` };
  }
  if (parameters.has("image_url")) {
    return { ...about, kind: "url", url: parameters.get("image_url"), key: `${collection}/url/${parameters.get("image_url")}` };
  }
  if (parameters.has("picture")) {
    const number = Number(parameters.get("picture"));
    return { ...about, kind: "picture", number, picture: chosen.get(number) ?? null, key: `${collection}/picture/${number}` };
  }
  return null;
}

/** Return the parameters of the address that repeat a query. */
export function parametersOf(query, changes = {}) {
  const own = { id: { image_id: query.id }, url: { image_url: query.url }, picture: { picture: query.number } }[query.kind];
  return { collection: query.collection, ...own, at_least: query.atLeast || null, ...changes };
}

/** Return the fields of the API's search that ask for this query. */
export async function fieldsOf(query) {
  if (query.kind === "id") return { image_id: query.id };
  if (query.kind === "url") return { image_url: query.url };
  return { image: await base64(await smaller(query.picture.file)) };
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
