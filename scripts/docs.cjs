/**
 * Keeps README.md and docs/*.md true. Writes the generated sections between
 * `<!-- generated:NAME -->` and `<!-- /generated:NAME -->` from the built code (dist/); with `--check` it
 * changes nothing and fails on a section that differs. Sections named `bench:…`, and the charts in docs/performance/, are made in the same
 * way of the saved results of benchmarks (bench/report.cjs). Both report unknown or unclosed markers, relative links that
 * lead nowhere, and npm scripts that do not exist.
 *
 * Usage: node scripts/docs.cjs [--check] [--root FOLDER]
 */
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

/** Section name → its Markdown, from the built code in `dist`. */
const SECTIONS = {
  states: statesSection,
  agentStates: agentStatesSection,
  routes: routesSection,
  errors: errorsSection,
  features: featuresSection,
  commands: commandsSection,
};

/** Scripts that npm runs without `run`, by the name they have in package.json. */
const NPM_SHORTHANDS = { start: 'start', test: 'test', t: 'test', stop: 'stop', restart: 'restart' };

/** Where the charts stand that are made of results. */
const CHARTS = path.join('docs', 'performance');

const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(head, rows) {
  const line = (cells) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

/** Mermaid knows names without `-` and `.` only. */
const stateName = (state) => state.replace(/[^A-Za-z0-9_]/g, '_');

function stateMachine(title, transitions) {
  const states = Object.keys(transitions);
  const rows = states.map((from) => [
    `\`${from}\``,
    transitions[from].map((to) => `\`${to}\``).join(', ') || '(none: final)',
  ]);
  const arrows = states.flatMap((from) => transitions[from].map((to) => `  ${stateName(from)} --> ${stateName(to)}`));
  const ends = states.filter((from) => transitions[from].length === 0).map((from) => `  ${stateName(from)} --> [*]`);
  const diagram = ['```mermaid', 'stateDiagram-v2', `  [*] --> ${stateName(states[0])}`, ...arrows, ...ends, '```'];
  return `**${title}**\n\n${table(['From', 'To'], rows)}\n\n${diagram.join('\n')}`;
}

function statesSection(dist) {
  const { INSTANCE_TRANSITIONS, NODE_TRANSITIONS } = require(path.join(dist, 'contract/states.js'));
  return `${stateMachine('Instance', INSTANCE_TRANSITIONS)}\n\n${stateMachine('Node', NODE_TRANSITIONS)}`;
}

function agentStatesSection(dist) {
  const { AGENT_TRANSITIONS } = require(path.join(dist, 'agent/instanceStatus.js'));
  return stateMachine('Generation', AGENT_TRANSITIONS);
}

function routesSection(dist) {
  const { SCHEDULER_ROUTES, AGENT_ROUTES } = require(path.join(dist, 'contract/routes.js'));
  const routes = (title, list) =>
    `**${title}**\n\n${table(
      ['Method', 'Path', 'Access', 'What'],
      list.map((route) => [route.method, `\`${route.path}\``, route.access, route.summary]),
    )}`;
  return `${routes('Scheduler', SCHEDULER_ROUTES)}\n\n${routes('Agent', AGENT_ROUTES)}`;
}

function errorsSection(dist) {
  const { ERRORS } = require(path.join(dist, 'contract/errors.js'));
  return table(
    ['Code', 'HTTP status', 'CLI exit code', 'Meaning'],
    Object.entries(ERRORS).map(([code, kind]) => [`\`${code}\``, kind.status, kind.exitCode, kind.title]),
  );
}

function featuresSection(dist) {
  const { FEATURES } = require(path.join(dist, 'contract/features.js'));
  return table(
    ['Feature', 'Such a node', 'Where it is lacking'],
    Object.entries(FEATURES).map(([name, { offers, lack }]) => [`\`${name}\``, offers, lack]),
  );
}

/** Runs the built CLI; its help must depend neither on the terminal's width nor on the caller's settings. */
function helpOf(dist, command) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MORCH_')));
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [path.join(dist, 'cli/main.js'), ...command, '--help'],
    { encoding: 'utf8', env: { ...env, NO_COLOR: '1', COLUMNS: '1000' } },
  );
  if (error) throw error;
  if (status !== 0) throw new Error(`morch ${[...command, '--help'].join(' ')} ended with ${status}: ${stderr}`);
  return stdout;
}

/**
 * Reads the lists of commander's help: below a line `Heading:`, each entry `  left side   right side`, continued
 * lines indented deeper.
 *
 * @returns {{ heading: string, term: string, text: string }[]}
 */
function helpEntries(help) {
  const entries = [];
  let heading = null;
  for (const line of help.split('\n')) {
    if (/^\S/.test(line)) heading = /^(.*):$/.exec(line)?.[1] ?? null;
    if (heading === null) continue;
    const entry = /^ {2}(\S.*?)(?: {2,}(.*))?$/.exec(line);
    if (entry) entries.push({ heading, term: entry[1], text: (entry[2] ?? '').trim() });
    else if (/^ /.test(line) && entries.length > 0)
      entries.at(-1).text = `${entries.at(-1).text} ${line.trim()}`.trim();
  }
  return entries;
}

/** Commands may stand below headings of their own, so these are what else a help has. */
const NOT_COMMANDS = new Set(['Options', 'Global Options', 'Arguments', 'Examples']);

function commandsSection(dist) {
  const commands = helpEntries(helpOf(dist, [])).filter(
    ({ heading, term }) => !NOT_COMMANDS.has(heading) && /^[a-z]/.test(term) && !/^help\b/.test(term),
  );
  if (commands.length === 0) throw new Error('`morch --help` names no commands');
  const parts = commands.map(({ term, text }) => {
    const name = term.split(/[ |]/)[0];
    return { row: [`\`morch ${name}\``, text], detail: commandDetail(dist, [name]) };
  });
  const overview = table(
    ['Command', 'What it does'],
    parts.map(({ row }) => row),
  );
  return [overview, ...parts.map(({ detail }) => detail)].join('\n\n');
}

/** Usage and flags of a command, and of those below it. */
function commandDetail(dist, command) {
  const help = helpOf(dist, command);
  const name = command.join(' ');
  // A path depends on the user and the machine, and the page would differ from one to the next.
  const path = /\(default:\s+"(\/[^"]*)"/.exec(help)?.[1];
  if (path !== undefined) {
    throw new Error(`\`morch ${name} --help\` shows the default ${path}: describe it, as in .default(path, 'words')`);
  }
  const usage = /^Usage: (.*)$/m.exec(help)?.[1] ?? `morch ${name}`;
  const options = helpEntries(help).filter((option) => option.heading === 'Options' && !option.term.includes('--help'));
  const below = helpEntries(help).filter(({ heading, term }) => heading === 'Commands' && !/^help\b/.test(term));
  if (below.length > 0) {
    return below.map(({ term }) => commandDetail(dist, [...command, term.split(/[ |]/)[0]])).join('\n\n');
  }
  const list = options.map((option) => `- \`${option.term}\`: ${option.text}`).join('\n');
  return `\`${usage}\`${list === '' ? '' : `\n\n${list}`}`;
}

/**
 * Replaces the content of every generated section.
 *
 * @param {string} text
 * @param {(name: string) => string | null} content  null: there is no such section
 * @returns {{ text: string, problems: string[] }}
 */
function fillSections(text, content) {
  const problems = [];
  const out = [];
  let open = null;
  for (const [index, line] of text.split('\n').entries()) {
    const marker = /^\s*<!-- (\/?)generated:(\S+) -->\s*$/.exec(line);
    if (marker === null) {
      if (line.includes('generated:') && line.includes('<!--')) {
        problems.push(`line ${index + 1}: a marker must stand alone on its line, as <!-- generated:NAME -->`);
      }
      if (open === null) out.push(line);
      continue;
    }
    const [, closing, name] = marker;
    if (closing === '') {
      if (open !== null) problems.push(`line ${index + 1}: section ${name} begins inside section ${open.name}`);
      open = { name, line: index + 1 };
      const section = content(name);
      if (section === null) problems.push(`line ${index + 1}: there is no generated section named ${name}`);
      out.push(line, ...(section === null ? [] : ['', ...section.split('\n'), '']));
    } else {
      if (open?.name !== name) problems.push(`line ${index + 1}: section ${name} ends without having begun`);
      open = null;
      out.push(line);
    }
  }
  if (open !== null) problems.push(`line ${open.line}: section ${open.name} has no <!-- /generated:${open.name} -->`);
  return { text: out.join('\n'), problems };
}

/** Blanks fenced blocks, and inline code as well, keeping line numbers. */
function withoutCode(text) {
  return text
    .replace(/^( *)(`{3,}|~{3,})[^\n]*\n[\s\S]*?^\1\2[^\n]*$/gm, (block) => block.replace(/[^\n]/g, ''))
    .replace(/(`+)[^`\n]+\1/g, '');
}

/** GitHub's anchors: lower case, punctuation dropped, blanks to `-`, repeats numbered. */
function anchorsOf(markdown) {
  const seen = new Map();
  const anchors = new Set();
  const prose = markdown.replace(/^( *)(`{3,}|~{3,})[^\n]*\n[\s\S]*?^\1\2[^\n]*$/gm, '');
  for (const [, heading] of prose.matchAll(/^#{1,6} +(.*?) *#*$/gm)) {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    anchors.add(count === 0 ? slug : `${slug}-${count}`);
  }
  for (const [, id] of markdown.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id);
  return anchors;
}

function lineOf(text, index) {
  return text.slice(0, index).split('\n').length;
}

/** Relative links and images that lead to no file, or to no heading of a Markdown file. */
function deadLinks(file, text) {
  const prose = withoutCode(text);
  const links = [
    ...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g),
    ...prose.matchAll(/^\[[^\]]+\]:\s+<?(\S+?)>?\s*$/gm),
    ...prose.matchAll(/\b(?:href|src)="([^"]+)"/g),
  ];
  return links.flatMap((match) => {
    const [target, anchor] = match[1].split('#');
    if (/^[a-z][a-z0-9+.-]*:/i.test(match[1])) return [];
    const where = `line ${lineOf(prose, match.index)}: link to ${match[1]}`;
    const absolute = target === '' ? file : path.resolve(path.dirname(file), decodeURIComponent(target));
    if (!fs.existsSync(absolute)) return [`${where}: there is no such file`];
    if (anchor && absolute.endsWith('.md')) {
      const markdown = absolute === file ? text : fs.readFileSync(absolute, 'utf8');
      if (!anchorsOf(markdown).has(anchor)) return [`${where}: there is no such heading`];
    }
    return [];
  });
}

/** `npm run NAME`, `npm start` and the like whose script package.json does not have. */
function unknownScripts(text, scripts) {
  const found = [
    ...text.matchAll(/\bnpm (?:run|run-script) (?:-{1,2}[\w-]+ )*([\w:.-]*\w)/g),
    ...text.matchAll(/\bnpm (start|test|t|stop|restart)\b(?!-)/g),
  ];
  return found.flatMap((match) => {
    const name = match[0].startsWith('npm run') ? match[1] : NPM_SHORTHANDS[match[1]];
    if (Object.hasOwn(scripts, name)) return [];
    return [`line ${lineOf(text, match.index)}: \`${match[0]}\`: package.json has no script ${name}`];
  });
}

function markdownFiles(root) {
  const docs = path.join(root, 'docs');
  const below = fs.existsSync(docs) ? fs.readdirSync(docs, { recursive: true }) : [];
  return ['README.md', ...below.filter((name) => name.endsWith('.md')).map((name) => path.join('docs', name))]
    .filter((name) => fs.existsSync(path.join(root, name)))
    .sort();
}

/** What is made of the results of benchmarks below `root`, which may have none: sections by name, charts by file name. */
function benchmarks(root) {
  const report = path.join(root, 'bench/report.cjs');
  if (!fs.existsSync(report)) return { sections: {}, charts: {} };
  const { chartsOf, readResults, sectionsOf } = require(report);
  const results = readResults(path.join(root, 'bench/results'));
  return { sections: sectionsOf(results), charts: chartsOf(results) };
}

/** @returns {{ problems: string[], written: string[] }} of the charts: one that differs, is missing, or is of no result */
function processCharts(root, charts, { check }) {
  const folder = path.join(root, CHARTS);
  const there = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  const read = (name) => (there.includes(name) ? fs.readFileSync(path.join(folder, name), 'utf8') : null);
  const stale = [...new Set([...there, ...Object.keys(charts)])].filter(
    (name) => read(name) !== (charts[name] ?? null),
  );
  const files = stale.map((name) => path.join(CHARTS, name)).sort();
  if (check) {
    return { problems: files.map((file) => `${file}: does not show bench/results: run \`npm run docs\``), written: [] };
  }
  for (const name of stale) {
    fs.mkdirSync(folder, { recursive: true });
    if (charts[name] === undefined) fs.rmSync(path.join(folder, name));
    else fs.writeFileSync(path.join(folder, name), charts[name]);
  }
  return { problems: [], written: files };
}

/**
 * @param {string} root  the folder of README.md, docs/, package.json and dist/
 * @param {{ check: boolean }} mode
 * @returns {{ problems: string[], written: string[] }}
 */
function processDocs(root, { check }) {
  const { scripts = {} } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const { sections, charts } = benchmarks(root);
  const made = new Map();
  const content = (name) => {
    if (Object.hasOwn(sections, name)) return sections[name];
    if (!Object.hasOwn(SECTIONS, name)) return null;
    if (!made.has(name)) made.set(name, SECTIONS[name](path.join(root, 'dist')));
    return made.get(name);
  };
  // The charts first, as sections have links to them.
  const { problems, written } = processCharts(root, charts, { check });
  for (const name of markdownFiles(root)) {
    const file = path.join(root, name);
    const before = fs.readFileSync(file, 'utf8');
    const filled = fillSections(before, content);
    const found = [...filled.problems, ...deadLinks(file, filled.text), ...unknownScripts(filled.text, scripts)];
    if (filled.problems.length === 0 && filled.text !== before) {
      if (check) found.push('a generated section is out of date: run `npm run docs`');
      else {
        fs.writeFileSync(file, filled.text);
        written.push(name);
      }
    }
    problems.push(...found.map((problem) => `${name}: ${problem}`));
  }
  return { problems, written };
}

function main(args) {
  const rootAt = args.indexOf('--root');
  const root = rootAt < 0 ? path.dirname(__dirname) : path.resolve(args[rootAt + 1]);
  if (!fs.existsSync(path.join(root, 'dist'))) throw new Error('there is no dist/; run `npm run build` first');
  const { problems, written } = processDocs(root, { check: args.includes('--check') });
  for (const name of written) console.log(`${name}: written`);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else console.log(`docs: ${markdownFiles(root).length} files ok`);
}

if (require.main === module) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(`docs: ${error.message}`);
    process.exitCode = 1;
  }
}

module.exports = { processDocs };
