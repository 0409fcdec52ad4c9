/**
 * Texts that a terminal would obey (colours, titles, cleared screens, answers typed for the user), given by whoever may
 * submit or by a program that fails: the commands show them, and pass none on.
 */
import { parse } from 'yaml';
import { morch } from '../cli/morch';
import { Cluster } from '../support/cluster';

jest.setTimeout(90_000);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(1);
});
afterAll(() => cluster?.close());

const ESCAPES = '\u001b]0;owned\u0007\u001b[2J\u001b[31m\u009b2J\u0090q\u009c\b\b\r\u007f\u202eend';
const restart = { policy: 'never' };

/** All but the ends of lines. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

test('in what is submitted, why it failed, and what it was called', async () => {
  const labels = { note: ESCAPES };
  const command = [`/nonexistent/${ESCAPES}`, ESCAPES];
  await cluster.submit({ id: 'named', command, labels, env: { A: ESCAPES }, restart });
  await cluster.submit({
    id: 'placed',
    kind: 'service',
    command: ['sleep', '600'],
    labels,
    cwd: `/${ESCAPES}`,
    restart,
  });
  const placement = { constraints: [{ label: 'zone', op: 'in', values: [ESCAPES] }] };
  await cluster.submit({ id: 'nowhere', command: ['true'], labels, placement });
  await cluster.submit({ id: 'user', command: ['sleep', '600'], kind: 'service', labels });
  await cluster.untilStatus('named', 'failed');
  await cluster.untilStatus('placed', 'failed');
  await cluster.untilWorkload('nowhere', 'is told why', (w) => w.statusReason?.includes('owned') === true);

  const verbs = [
    ['workloads'],
    ['workloads', '-o', 'wide'],
    ['workloads', '-o', 'yaml'],
    ['workloads', '-o', 'json'],
    ['status'],
  ];
  verbs.push(['health'], ['nodes', '-o', 'wide'], ['audit', 'tail'], ['recovery']);
  for (const id of ['named', 'placed', 'nowhere', 'user']) {
    for (const verb of ['describe', 'history', 'blackbox']) verbs.push([verb, id]);
    verbs.push(['describe', id, '-o', 'json'], ['describe', id, '-o', 'yaml'], ['wait', id, '--timeout', '1ms']);
  }
  verbs.push(['describe', ESCAPES], ['logs', ESCAPES], ['stop', ESCAPES], ['scale', 'user', ESCAPES], [ESCAPES]);
  verbs.push(['submit', `/nonexistent/${ESCAPES}`], ['submit', '--command', '--name', ESCAPES, 'true']);
  verbs.push(['submit', '--command', '--label', `${ESCAPES}=1`, 'true'], ['--address', `http://${ESCAPES}`, 'nodes']);
  verbs.push(['--token-file', `/nonexistent/${ESCAPES}`, 'nodes'], ['nodes', '-o', ESCAPES]);
  const obeyed: string[][] = [];
  for (const verb of verbs) {
    const { stdout, stderr } = await morch(verb, { env: cluster.env });
    const found = OBEYED.exec(stdout) ?? OBEYED.exec(stderr);
    if (found !== null)
      obeyed.push([verb.join(' '), found.input.slice(Math.max(0, found.index - 40), found.index + 10)]);
  }
  expect(obeyed).toEqual([]);
});

test('programs read the same values all the same', async () => {
  const read = async (format: string) =>
    (await morch(['describe', 'named', '-o', format], { env: cluster.env })).stdout;
  const expected = { labels: { note: ESCAPES }, command: [`/nonexistent/${ESCAPES}`, ESCAPES], env: { A: ESCAPES } };
  expect(JSON.parse(await read('json'))).toMatchObject(expected);
  expect(parse(await read('yaml'))).toMatchObject(expected);
  // As words that YAML would not quote by itself.
  await cluster.submit({
    id: 'late',
    command: ['true'],
    labels: { note: 'a\u009b2Jb', empty: '', no: 'no', lines: 'a\nb' },
    replicas: 0,
  });
  const { stdout } = await morch(['describe', 'late', '-o', 'yaml'], { env: cluster.env });
  expect(parse(stdout).labels).toEqual({ note: 'a\u009b2Jb', empty: '', no: 'no', lines: 'a\nb' });
  expect(stdout).not.toMatch(OBEYED);
});
