'use strict';
/** Medians and spreads of a benchmark's samples, and how they are written. Pure. */

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** @param numbers at least one */
function spreadOf(numbers) {
  return { median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers), samples: numbers.length };
}

/** `4.012 (3.871..4.120)` */
function showSpread(spread, digits) {
  const [middle, min, max] = [spread.median, spread.min, spread.max].map((n) => n.toFixed(digits));
  return `${middle} (${min}..${max})`;
}

/**
 * Lines `name   median (min..max) unit`, names and figures each in a column.
 * @param rows [name, spread, digits, unit]
 */
function showSpreads(rows) {
  const cells = rows.map(([name, spread, digits, unit]) => [name, showSpread(spread, digits), unit]);
  const widths = [0, 1].map((column) => Math.max(...cells.map((row) => row[column].length)));
  return cells.map(([name, text, unit]) => `  ${name.padEnd(widths[0])}  ${text.padEnd(widths[1])}  ${unit}`);
}

module.exports = { median, showSpread, showSpreads, spreadOf };
