// Rows of a justified gallery: all pictures of a row have one height, and each row fills the width.

const NARROWEST = 0.85;
const WIDEST = 2.4;
export const ROW_GAP = 22;

/** Return the part of the range in which a picture is shown. Longer ones get a border. */
export function shownRatio(ratio) {
  return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

/**
 * Break pictures into rows. ratios: width / height of each. width, height, gap: in pixels. isLast: no further pictures
 * will come, so that an incomplete row is kept too. caption: the height below each picture. Rows that were returned once
 * stay the same when pictures are added. Each row has `top`, and each of its pictures `left`, in pixels.
 */
export function rowsOf(ratios, { width, height, gap, caption, isLast }) {
  const rows = [];
  let row = [];
  let sum = 0;
  let top = 0;
  const close = (isFull) => {
    const filling = (width - gap * (row.length - 1)) / sum;
    const actual = isFull ? filling : Math.min(filling, height);
    const widths = row.map((one) => Math.floor(one.ratio * actual));
    // What rounding left over.
    if (isFull) widths[widths.length - 1] += Math.floor(width - gap * (row.length - 1) - widths.reduce((all, one) => all + one, 0));
    const lefts = [];
    widths.reduce((left, one) => {
      lefts.push(left);
      return left + one + gap;
    }, 0);
    const tall = Math.round(actual);
    rows.push({ first: row[0].index, top, height: tall, widths, lefts });
    top += tall + caption + ROW_GAP;
    row = [];
    sum = 0;
  };
  ratios.forEach((given, index) => {
    const ratio = shownRatio(given);
    const filled = sum * height + gap * row.length;
    // Leave the picture to the next row if that comes closer to the wanted height.
    if (row.length && filled + ratio * height > width && width - filled < filled + ratio * height - width) close(true);
    row.push({ index, ratio });
    sum += ratio;
    if (sum * height + gap * (row.length - 1) >= width) close(true);
  });
  if (row.length && isLast) close(false);
  return rows;
}

/** Return the indexes of the first and the last row that touch the range from `from` to `to`, in pixels. */
export function rowsWithin(rows, from, to) {
  const first = Math.max(0, rows.findLastIndex((row) => row.top <= from));
  const last = rows.findLastIndex((row) => row.top < to);
  return [first, Math.max(first, last)];
}
