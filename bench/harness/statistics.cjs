'use strict';
/** Medians and spreads of a benchmark's samples, and how they are written. Pure. */

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Nearest rank. @param p 0 to 100 */
function percentile(numbers, p) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)];
}

/** @param numbers at least one: of each run, in order */
function spreadOf(numbers) {
  const [min, max] = [Math.min(...numbers), Math.max(...numbers)];
  return { median: median(numbers), min, max, samples: numbers.length, values: numbers };
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
  return showTable(rows.map(([name, spread, digits, unit]) => [name, showSpread(spread, digits), unit]));
}

/** @param rows texts; the columns are as wide as their widest */
function showTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) => `  ${row.map((text, column) => text.padEnd(widths[column])).join('  ')}`.trimEnd());
}

module.exports = { median, percentile, showSpread, showSpreads, showTable, spreadOf };
