import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const { processDocs } = require('../../scripts/docs.cjs') as {
  processDocs(root: string, mode: { check: boolean }): { problems: string[]; written: string[] };
};

let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'morch-docs-'));
  write('package.json', '{ "scripts": { "start": "x", "build:ts": "y" } }');
  write(
    'dist/contract/states.js',
    `exports.INSTANCE_TRANSITIONS = { pending: ['running'], running: ['completed'], completed: [] };
     exports.NODE_TRANSITIONS = { healthy: ['lost'], lost: ['healthy'] };`,
  );
  write(
    'dist/contract/routes.js',
    `exports.SCHEDULER_ROUTES = [{ method: 'GET', path: '/health', access: 'open', summary: 'a | b' }]; exports.AGENT_ROUTES = [];`,
  );
  write('dist/agent/instanceStatus.js', "exports.AGENT_TRANSITIONS = { backoff: ['starting'], starting: [] };");
  write('dist/contract/errors.js', "exports.ERRORS = { GONE: { status: 410, title: 'Gone', exitCode: 1 } };");
  write(
    'dist/cli/main.js',
    `if (process.argv[2] === 'stop') console.log(${JSON.stringify(
      'Usage: morch stop [options] <id>\n\nOptions:\n  --no-wait   do not\n              wait\n  -h, --help  help\n',
    )});
     else if (process.argv[3] === 'use') console.log(${JSON.stringify(
       'Usage: morch context use [options] <name>\n\nOptions:\n  -y          at once\n  -h, --help  help\n',
     )});
     else if (process.argv[2] === 'context') console.log(${JSON.stringify(
       'Usage: morch context [options] [command]\n\nCommands:\n  use <name>      choose one\n  help [command]  help\n',
     )});
     else console.log(${JSON.stringify(
       'Usage: morch <command>\n\nOptions:\n  -V  version\n\nCommands:\n  stop [options] <id>  stops a workload\n  context              contexts\n  help [command]       help\n',
     )});`,
  );
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

function write(name: string, content: string): void {
  fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
  fs.writeFileSync(path.join(root, name), content);
}
const read = (name: string): string => fs.readFileSync(path.join(root, name), 'utf8');
const check = (): string[] => processDocs(root, { check: true }).problems;

test('writes every section, and is content with what it wrote', () => {
  const sections = ['states', 'agentStates', 'routes', 'errors', 'commands'];
  write(
    'docs/reference.md',
    sections.map((name) => `<!-- generated:${name} -->\n<!-- /generated:${name} -->\n`).join(''),
  );
  expect(check()).toEqual(['docs/reference.md: a generated section is out of date: run `npm run docs`']);
  expect(processDocs(root, { check: false })).toEqual({ problems: [], written: ['docs/reference.md'] });
  expect(check()).toEqual([]);

  const text = read('docs/reference.md');
  expect(text).toContain('| `pending` | `running` |');
  expect(text).toContain(
    'stateDiagram-v2\n  [*] --> pending\n  pending --> running\n  running --> completed\n  completed --> [*]',
  );
  expect(text).toContain('| `backoff` | `starting` |');
  expect(text).toContain('| GET | `/health` | open | a \\| b |');
  expect(text).toContain('| `GONE` | 410 | 1 | Gone |');
  expect(text).toContain('| `morch stop` | stops a workload |');
  expect(text).toContain('`morch stop [options] <id>`\n\n- `--no-wait`: do not wait');
  expect(text).toContain('| `morch context` | contexts |');
  expect(text).toContain('`morch context use [options] <name>`\n\n- `-y`: at once');
  expect(text).not.toContain('morch help');
});

test('finds a section that the code has left behind', () => {
  write('README.md', '<!-- generated:errors -->\n<!-- /generated:errors -->\n');
  processDocs(root, { check: false });
  write('README.md', read('README.md').replace('410', '404'));
  expect(check()).toEqual(['README.md: a generated section is out of date: run `npm run docs`']);
});

test.each([
  ['an unknown name', '<!-- generated:moods -->\n<!-- /generated:moods -->', 'no generated section named moods'],
  ['no end', '<!-- generated:errors -->\n', 'has no <!-- /generated:errors -->'],
  ['an end without a beginning', '<!-- /generated:errors -->', 'ends without having begun'],
  ['a wrong form', '<!--generated:errors-->', 'a marker must stand alone'],
])('refuses a marker with %s, and leaves the file alone', (_what, text, problem) => {
  write('README.md', text);
  expect(processDocs(root, { check: false })).toEqual({ problems: [expect.stringContaining(problem)], written: [] });
  expect(read('README.md')).toBe(text);
});

test('finds dead links, and only those', () => {
  write('docs/a.md', '# The first part: *a*\n\n## Twice\n\n## Twice\n');
  write(
    'README.md',
    [
      '[1](docs/a.md) [2](docs/a.md#the-first-part-a) [3](docs/a.md#twice-1) [4](https://example.org/x) [5](#own)',
      '# Own',
      '`[6](gone.md)`',
      '```',
      '[7](gone.md)',
      '```',
      '[8](docs/gone.md) ![9](gone.png) [10](docs/a.md#gone) [11](#gone)',
      '[ref]: gone.txt',
    ].join('\n'),
  );
  expect(check()).toEqual([
    'README.md: line 7: link to docs/gone.md: there is no such file',
    'README.md: line 7: link to gone.png: there is no such file',
    'README.md: line 7: link to docs/a.md#gone: there is no such heading',
    'README.md: line 7: link to #gone: there is no such heading',
    'README.md: line 8: link to gone.txt: there is no such file',
  ]);
});

test('finds npm scripts that do not exist', () => {
  write(
    'README.md',
    '`npm start`, `npm run build:ts`.\nThen npm run bulid, `npm test -- x`, `npm run -s lint`; npm install.\n',
  );
  expect(check()).toEqual([
    'README.md: line 2: `npm run bulid`: package.json has no script bulid',
    'README.md: line 2: `npm run -s lint`: package.json has no script lint',
    'README.md: line 2: `npm test`: package.json has no script test',
  ]);
});

test('draws the charts of results, and finds those that show others', () => {
  write('bench/results/spawn.json', '{ "us": 8 }');
  write(
    'bench/report.cjs',
    `const fs = require('node:fs');
     exports.readResults = (folder) => JSON.parse(fs.readFileSync(folder + '/spawn.json', 'utf8'));
     exports.sectionsOf = ({ us }) => ({ 'bench:node': '![a spawn](performance/spawn.svg): ' + us });
     exports.chartsOf = ({ us }) => ({ 'spawn.svg': '<svg>' + us + '</svg>' });`,
  );
  write('docs/performance.md', '<!-- generated:bench:node -->\n<!-- /generated:bench:node -->\n');
  expect(processDocs(root, { check: false })).toEqual({
    problems: [],
    written: ['docs/performance/spawn.svg', 'docs/performance.md'],
  });
  expect(check()).toEqual([]);
  expect(read('docs/performance.md')).toContain('performance/spawn.svg): 8');

  write('bench/results/spawn.json', '{ "us": 9 }');
  write('docs/performance/old.svg', '<svg/>');
  expect(check()).toEqual([
    'docs/performance/old.svg: does not show bench/results: run `npm run docs`',
    'docs/performance/spawn.svg: does not show bench/results: run `npm run docs`',
    'docs/performance.md: a generated section is out of date: run `npm run docs`',
  ]);
  processDocs(root, { check: false });
  expect(fs.readdirSync(path.join(root, 'docs/performance'))).toEqual(['spawn.svg']);
  expect(read('docs/performance/spawn.svg')).toBe('<svg>9</svg>');
});
