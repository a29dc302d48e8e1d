// The first rows of a CSV, as a preview. The service reads the file itself, and decides what is right.

const HEAD_BYTES = 64 * 1024;
const ROWS = 5;

/** Return the fields of each complete line of a text. */
function parsed(text, delimiter) {
  const rows = [];
  let row = [];
  let field = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (isQuoted) {
      if (character === '"' && text[at + 1] === '"') {
        field += '"';
        at += 1;
      } else if (character === '"') isQuoted = false;
      else field += character;
    } else if (character === '"' && field.trim() === "") {
      isQuoted = true;
      field = "";
    } else if (character === delimiter) {
      row.push(field.trim());
      field = "";
    } else if (character === "\n") {
      row.push(field.trim());
      if (row.some(Boolean)) rows.push(row);
      row = [];
      field = "";
      if (rows.length > ROWS) return rows;
    } else if (character !== "\r") field += character;
  }
  if (field || row.length) rows.push([...row, field.trim()]);
  return rows;
}

function delimiterOf(text) {
  const line = text.split("\n").find((one) => one.trim()) ?? "";
  const count = (character) => line.split(character).length;
  const sep = /^sep=(.)/.exec(line);
  if (sep) return sep[1];
  return ["\t", ";", ","].reduce((best, one) => (count(one) > count(best) ? one : best), ",");
}

export async function preview(file) {
  const text = (await file.slice(0, HEAD_BYTES).text()).replace(/^\uFEFF/, "");
  const rows = parsed(text.replace(/^sep=.\r?\n/, ""), delimiterOf(text));
  return rows.slice(0, ROWS);
}
