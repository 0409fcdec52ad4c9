'use strict';
/**
 * What docs/performance.md shows of saved results (DIRECTORY/NAME.json, written with --save): the generated sections of its text, and
 * its charts. scripts/docs.cjs puts them there; by itself it prints the sections of any directory of results, to look at them.
 *
 *   node bench/report.cjs [DIRECTORY]
 */
const { existsSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { MEASUREMENTS } = require('./programs.cjs');
const { CHARTS, show } = require('./report/charts.cjs');
const { barChart } = require('./report/svg.cjs');
const { TARGETS } = require('./report/targets.cjs');

/** What the document shows. */
const RESULTS = path.join(__dirname, 'results');
const MISSING = 'not measured yet';

/** @returns { name: saved report } of those that are there */
function readResults(directory) {
  const files = MEASUREMENTS.map(({ name }) => [name, path.join(directory, `${name}.json`)]);
  const there = files.filter(([, file]) => existsSync(file));
  return Object.fromEntries(there.map(([name, file]) => [name, JSON.parse(readFileSync(file, 'utf8'))]));
}

/** @returns { name: Markdown } for the markers of docs/performance.md */
function sectionsOf(results) {
  const subjects = [...new Set(MEASUREMENTS.map(({ subject }) => subject))];
  return {
    'bench:targets': targetsSection(results),
    'bench:runs': runsSection(results),
    ...Object.fromEntries(subjects.map((subject) => [`bench:${subject}`, subjectSection(results, subject)])),
  };
}

/** @returns { file: SVG }, all of docs/performance/ */
function chartsOf(results) {
  const overview = drawTargets(results);
  return Object.fromEntries([
    ...(overview === null ? [] : [['targets.svg', barChart(overview)]]),
    ...drawable(results).map(({ file, drawing }) => [file, barChart(drawing)]),
  ]);
}

/** The charts whose results are there, each with what barChart takes; without bars that have no figure. */
function drawable(results) {
  return CHARTS.filter(({ from }) => from.every((name) => results[name] !== undefined))
    .map((chart) => ({ ...chart, drawing: withFigures(chart.draw(...chart.from.map((name) => results[name]))) }))
    .filter(({ drawing }) => drawing.groups.length > 0);
}

function withFigures(drawing) {
  const groups = drawing.groups.map(({ label, bars }) => ({ label, bars: bars.filter(({ spread }) => spread) }));
  return { ...drawing, groups: groups.filter(({ bars }) => bars.length > 0) };
}

/** @returns the spread of each target; null where its result, or that figure of it, is not there */
function measured(results) {
  return TARGETS.map((target) => {
    const saved = results[target.from];
    const counts =
      saved !== undefined && Object.entries(target.when ?? {}).every(([flag, is]) => saved.flags[flag] === is);
    return { ...target, spread: (counts ? target.read(saved) : null) ?? null, runs: saved?.flags.runs ?? 1 };
  });
}

const reaches = ({ isLess = false }, value, goal) => (isLess ? value <= goal : value >= goal);

function verdictOf(target) {
  const { spread, least, aim } = target;
  if (reaches(target, spread.median, aim)) return 'aim';
  return reaches(target, spread.median, least) ? 'at least' : '**no**';
}

function targetsSection(results) {
  const rows = measured(results).map((target) => {
    const { work, least, aim, unit, spread, from, runs } = target;
    const sign = target.isLess ? '≤' : '≥';
    const goals = [least, aim].map((goal) => `${sign} ${goal.toLocaleString('en')}`);
    const found = spread === null ? [MISSING, '', ''] : [show(spread), String(runs), verdictOf(target)];
    return [`${work}${unit === '' ? '' : `, ${unit}`}`, ...goals, ...found, `\`${from}\``];
  });
  const head = ['Work', 'At least', 'Aim', 'Measured: median (min..max)', 'Runs', 'Reached', 'Measurement'];
  return [
    ...(drawTargets(results) === null ? [] : [image('targets.svg', 'How far each target is reached'), '']),
    table(head, rows),
  ].join('\n');
}

/** How many times what is to be reached at least was reached: 1 is just that. Targets of 0 are in the table alone. */
function drawTargets(results) {
  const there = measured(results).filter(({ spread, least }) => spread !== null && least > 0);
  if (there.length === 0) return null;
  const bars = there.map((target) => {
    const { work, spread, least, aim, isLess } = target;
    const times = (value) => (isLess ? least / value : value / least);
    const [min, max] = [times(spread.min), times(spread.max)].sort((a, b) => a - b);
    const own = { median: times(spread.median), min, max };
    const tone = reaches(target, spread.median, least) ? 'good' : 'bad';
    return { label: work, tone, spread: own, mark: times(aim), text: `${+own.median.toPrecision(2)}` };
  });
  const title = 'Measured / at least: 1 is just reached, right is better (log scale); the mark is the aim';
  return { title, isLog: true, origin: 1, labelWidth: 430, groups: [{ label: '', bars }] };
}

function subjectSection(results, subject) {
  const charts = drawable(results)
    .filter((chart) => chart.subject === subject)
    .map(({ file, drawing }) => image(file, drawing.title));
  const reports = MEASUREMENTS.filter((one) => one.subject === subject).map(({ name, line }) => {
    const saved = results[name];
    if (saved === undefined) return `**\`${name}\`**: ${line}: ${MISSING}.`;
    return `**\`${name}\`**: ${line}.\n\n\`\`\`text\n${saved.report.join('\n')}\n\`\`\``;
  });
  return [...charts, ...reports].join('\n\n');
}

function runsSection(results) {
  const rows = Object.entries(results).map(([name, { command, commit, date, machine, failures, tookSeconds }]) => [
    `\`${name}\``,
    `\`${command}\``,
    `\`${commit}\``,
    date.slice(0, 16).replace('T', ' '),
    `${tookSeconds} s`,
    `${machine.load.toFixed(1)}, ${machine.loadAfter.toFixed(1)}`,
    failures.length === 0 ? 'all hold' : `**${failures.length} failed**`,
  ]);
  const machines = new Set(
    Object.values(results).map(
      ({ machine: { cores, cpu, memoryGib, kernel, node } }) =>
        `- ${cores} cores of ${cpu}, ${memoryGib} GiB of memory, ${kernel}, Node ${node}`,
    ),
  );
  if (rows.length === 0) return MISSING;
  const head = ['Measurement', 'Command', 'Commit', 'UTC', 'Took', 'Load before, after', 'Checks'];
  return `${[...machines].join('\n')}\n\n${table(head, rows)}`;
}

function image(file, title) {
  return `![${title}](performance/${file})`;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

if (require.main === module) {
  const directory = process.argv[2] ?? RESULTS;
  for (const [name, text] of Object.entries(sectionsOf(readResults(directory)))) {
    process.stdout.write(`\n== ${name}\n\n${text}\n`);
  }
}

module.exports = { chartsOf, readResults, RESULTS, sectionsOf };
