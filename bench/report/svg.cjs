'use strict';
/**
 * Bar charts as SVG, without a library: horizontal bars of medians with whiskers from the least to the most, in groups. The ground is
 * drawn too, light or dark as the reader prefers: a page that is dark while its reader is said to prefer light would else hide the text. Pure: the same input gives the same text.
 */

const WIDTH = 820;
const VALUE_WIDTH = 150;
const ROW = 26;
const BAR = 16;
const GROUP_HEAD = 28;
const TOP = 46;
const AXIS = 40;

/** Tones tell whose a bar is; the same in all charts. */
const STYLE = `
    .ground { fill: #ffffff }
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 }
    .group { font-weight: 600 }
    .tick, .value { font-size: 12px; fill: #59636e }
    .grid { stroke: #818b98; stroke-opacity: 0.3 }
    .origin { stroke: #59636e }
    .whisker { stroke: #1f2328; stroke-width: 1.5 }
    .mark { stroke: #bc4c00; stroke-width: 3 }
    .ours { fill: #0969da } .peer { fill: #bf8700 } .control { fill: #818b98 } .good { fill: #1a7f37 } .bad { fill: #cf222e }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117 }
      text { fill: #e6edf3 }
      .tick, .value { fill: #9198a1 }
      .origin { stroke: #9198a1 }
      .whisker { stroke: #e6edf3 }
      .mark { stroke: #f0883e }
      .ours { fill: #4493f8 } .peer { fill: #d29922 } .control { fill: #6e7681 } .good { fill: #3fb950 } .bad { fill: #f85149 }
    }`;

/**
 * @param title  what is measured, with its unit
 * @param isLog  whether each step to the right is a factor of ten; the bars then begin at `origin`, or at the left
 * @param origin of the bars, where that is not the left; a line is drawn there
 * @param labelWidth of the column of names
 * @param groups { label, bars: { label, spread, tone, text, mark? } }; `text` is the value as written, `mark` one to be reached
 */
function barChart({ title, isLog = false, origin = null, labelWidth = 200, groups }) {
  const all = groups.flatMap(({ bars }) => bars);
  const values = all.flatMap(({ spread, mark }) => [spread.min, spread.max, ...(mark === undefined ? [] : [mark])]);
  const scale = isLog ? logScale(values, origin) : linearScale(values);
  const x = (value) => labelWidth + scale.share(value) * (WIDTH - labelWidth - VALUE_WIDTH);
  const heads = groups.filter(({ label }) => label !== '').length;
  const plotBottom = TOP + heads * GROUP_HEAD + all.length * ROW;
  const parts = [
    ...scale.ticks.flatMap((tick) => [
      line(x(tick), TOP - 8, x(tick), plotBottom + 4, 'grid'),
      text(x(tick), plotBottom + 20, compact(tick), 'tick', 'middle'),
    ]),
    ...(origin === null ? [] : [line(x(origin), TOP - 8, x(origin), plotBottom + 4, 'origin')]),
  ];
  let y = TOP;
  for (const { label, bars } of groups) {
    if (label !== '') {
      parts.push(text(0, y + 19, label, 'group'));
      y += GROUP_HEAD;
    }
    for (const bar of bars) {
      parts.push(...drawBar({ bar, x, y, labelWidth, from: origin ?? scale.from }));
      y += ROW;
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 ${WIDTH + 24} ${plotBottom + AXIS}" role="img" aria-label="${escaped(title)}">
  <style>${STYLE}
  </style>
  <rect class="ground" x="-12" y="0" width="${WIDTH + 24}" height="${plotBottom + AXIS}" rx="6"/>
  ${[text(0, 22, title, 'title'), ...parts].join('\n  ')}
</svg>
`;
}

function drawBar({ bar: { label, spread, tone, text: value, mark }, x, y, labelWidth, from }) {
  const [left, right] = [x(from), x(spread.median)].sort((a, b) => a - b);
  const middle = y + ROW / 2;
  const [least, most] = [x(spread.min), x(spread.max)];
  const whisker =
    most - least < 1
      ? []
      : [
          line(least, middle, most, middle, 'whisker'),
          ...[least, most].map((end) => line(end, middle - 4, end, middle + 4, 'whisker')),
        ];
  return [
    text(labelWidth - 10, middle + 4, label, '', 'end'),
    `<rect class="${tone}" x="${at(left)}" y="${at(middle - BAR / 2)}" width="${at(Math.max(right - left, 1))}" height="${BAR}"/>`,
    ...whisker,
    ...(mark === undefined ? [] : [line(x(mark), middle - 10, x(mark), middle + 10, 'mark')]),
    text(Math.max(right, most, mark === undefined ? 0 : x(mark)) + 8, middle + 4, value, 'value'),
  ];
}

function logScale(values, origin) {
  const positive = [...values, ...(origin === null ? [] : [origin])].filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive)) - 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))));
  return {
    from: 10 ** low,
    share: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low),
    ticks: Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step)),
  };
}

function linearScale(values) {
  const most = Math.max(...values);
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const count = Math.ceil(most / step);
  return {
    from: 0,
    share: (value) => value / (count * step),
    ticks: Array.from({ length: count + 1 }, (_, nth) => nth * step),
  };
}

/** 0.001, 20, 5k, 2M */
function compact(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (value >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(+value.toPrecision(3));
}

function line(x1, y1, x2, y2, name) {
  return `<line class="${name}" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`;
}

function text(x, y, content, name, anchor = 'start') {
  return `<text class="${name}" x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function at(coordinate) {
  return String(Math.round(coordinate * 10) / 10);
}

function escaped(content) {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

module.exports = { barChart, compact };
