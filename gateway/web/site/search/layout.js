// Rows of a justified gallery: all pictures of a row have one height, and each row fills the width.

const NARROWEST = 0.85;
const WIDEST = 2.4;

/** Return the part of the range in which a picture is shown. Longer ones get a border. */
export function shownRatio(ratio) {
  return Math.min(WIDEST, Math.max(NARROWEST, ratio));
}

/**
 * Break pictures into rows. ratios: width / height of each. width, height, gap: in pixels. isLast: no further pictures
 * will come, so that an incomplete row is kept too. Rows that were returned once stay the same when pictures are added.
 */
export function rowsOf(ratios, { width, height, gap, isLast }) {
  const rows = [];
  let row = [];
  let sum = 0;
  const close = (isFull) => {
    const filling = (width - gap * (row.length - 1)) / sum;
    const actual = isFull ? filling : Math.min(filling, height);
    const widths = row.map((one) => Math.floor(one.ratio * actual));
    // What rounding left over.
    if (isFull) widths[widths.length - 1] += Math.floor(width - gap * (row.length - 1) - widths.reduce((all, one) => all + one, 0));
    rows.push({ first: row[0].index, height: Math.round(actual), widths });
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
