/** What an agent tells of the output of its instances: on a real agent, and by itself over real files. */
import { randomUUID } from 'node:crypto';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { logOwnerKey } from '../../agent/logs/files';
import { loadNative } from '../../agent/native/index';
import { PathWork } from '../../agent/pathWork';
import { type TailSubject, Tails } from '../../agent/tails';
import { type TailsMessage, tailsMessageSchema } from '../../contract/agentApi';
import { Agents, type Connection } from '../support/agent';
import { PlayedScheduler } from '../support/playedScheduler';
import { until } from '../support/until';

const paths = new PathWork(loadNative());

type Told = TailsMessage['instances'][number];

describe('an agent', () => {
  const agents = new Agents();
  afterAll(() => agents.endAll(), 60_000);

  const toldOn = (connection: Connection): Told[] => connection.of('tails').flatMap(({ instances }) => instances);
  const shell = (script: string) => ({ command: ['/bin/sh', '-c', script], stop: { graceMs: 100 } });
  /** Heartbeats of a played session come every 100 ms. */
  const untilBeats = (connection: Connection, count: number) => {
    const before = connection.of('heartbeat').length;
    return until(() => connection.of('heartbeat').length >= before + count, {
      what: `${count} heartbeats`,
      timeoutMs: 20_000,
    });
  };

  test('tells its scheduler what was written, once; and nothing when nothing changes', async () => {
    const agent = await agents.start();
    const listener = await agent.connect();
    const first = await PlayedScheduler.connect(agent);
    const [loud, silent] = [0, 1].map((slot) => ({ instanceId: `web.${slot}`, uid: randomUUID(), generation: 3 }));
    const script =
      'for n in $(seq 25); do echo line $n; done; echo oops >&2; trap "echo more" USR1; while :; do sleep 0.1; done';
    const { body } = await agent.start({ ...shell(script), ...loud, ...first.claim });
    await agent.start({ ...shell('exec sleep 600'), ...silent, ...first.claim });
    await until(() => toldOn(first.connection).length > 0, { what: 'the lines are told', timeoutMs: 10_000 });
    // It may have been looked at while it still wrote.
    await untilBeats(first.connection, 20);
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i + 6}\n`).join('');
    const whole: Told = [loud!.uid, '0', 3, 1, lines, 'oops\n'];
    expect(toldOn(first.connection).at(-1)).toEqual(whole);

    const count = toldOn(first.connection).length;
    await untilBeats(first.connection, 50);
    expect(toldOn(first.connection)).toHaveLength(count);

    process.kill(body.pid, 'SIGUSR1');
    await until(() => toldOn(first.connection).length > count, { what: 'what is new is told', timeoutMs: 10_000 });
    expect(toldOn(first.connection).at(-1)![4]).toBe(`${lines.slice('line 6\n'.length)}more\n`);

    // A scheduler that was started anew knows nothing.
    first.close();
    const second = await PlayedScheduler.connect(agent, { epoch: 2 });
    await until(() => toldOn(second.connection).length > 0, { what: 'it is told anew', timeoutMs: 10_000 });
    expect(toldOn(second.connection)).toEqual([
      [loud!.uid, '0', 3, 1, `${lines.slice('line 6\n'.length)}more\n`, 'oops\n'],
    ]);
    expect(toldOn(listener)).toEqual([]);
    for (const id of [loud!, silent!]) await agent.stop({ ...id, ...second.claim });
    second.close();
    listener.close();
  }, 60_000);

  test('tells the last words of what has ended', async () => {
    const agent = await agents.start();
    const scheduler = await PlayedScheduler.connect(agent);
    const id = { instanceId: 'job.0', uid: randomUUID(), generation: 1 };
    await agent.start({
      ...shell('sleep 0.3; echo goodbye; exit 3'),
      restart: { policy: 'never' },
      ...id,
      ...scheduler.claim,
    });
    await until(() => scheduler.connection.reports('job.0').at(-1)?.status === 'failed', { what: 'it has ended' });
    // As a scheduler does at once.
    scheduler.send({ type: 'forget', instances: [{ uid: id.uid, slot: '0', generation: 1 }] });
    await until(() => toldOn(scheduler.connection).at(-1)?.[4] === 'goodbye\n', {
      what: 'its last words are told',
      timeoutMs: 10_000,
    });
    scheduler.close();
  }, 30_000);
});

describe('by itself', () => {
  const root = mkdtempSync(join(tmpdir(), 'morch-tails-'));
  afterAll(() => rmSync(root, { recursive: true }));

  const directoryOf = ({ uid, slot }: { uid: string; slot: string }) => join(root, `${uid}.${slot}`);
  const subject = (uid: string): TailSubject => ({ uid, slot: '0', generation: 1, run: 1 });

  function write(uid: string, text: string): void {
    mkdirSync(directoryOf({ uid, slot: '0' }), { recursive: true });
    appendFileSync(join(directoryOf({ uid, slot: '0' }), 'stdout.1.log'), text);
  }

  /** `tails` over these instances, with every message it sends; refuse: none is taken. */
  function watch(subjects: TailSubject[]) {
    const sent: string[] = [];
    const busy: string[] = [];
    const state = { session: '1.1' as string | null, refuse: false };
    const tails = new Tails({
      sessionName: () => state.session,
      subjects: () => subjects.values(),
      subjectsOf: (nonces) => subjects.filter(({ uid }) => nonces.has(`nonce of ${uid}`)),
      isKnown: (key) => subjects.some((known) => logOwnerKey(known) === key),
      busyNonces: () => busy,
      directoryOf,
      lookAt: (path) => paths.lookAt(path),
      send: (text) => {
        if (!state.refuse) sent.push(text);
        return !state.refuse;
      },
      log: pino({ level: 'silent' }),
    });
    const told = () => sent.flatMap((text) => tailsMessageSchema.parse(JSON.parse(text)).instances);
    return { tails, sent, told, busy, state };
  }

  test('no more than 64 KiB at a look, and everything in the end, once', async () => {
    const subjects = Array.from({ length: 60 }, (_, i) => subject(`chatty${i}`));
    // Each of these takes six bytes in a message.
    for (const { uid } of subjects) write(uid, `${'\u0001'.repeat(4_000)}\n`);
    const { tails, sent, told } = watch(subjects);
    for (let looks = 0; looks < 40; looks += 1) await tails.look();
    expect(
      told()
        .map(([uid]) => uid)
        .sort(),
    ).toEqual(subjects.map(({ uid }) => uid).sort());
    expect(Math.max(...sent.map((text) => Buffer.byteLength(text)))).toBeLessThanOrEqual(64 * 1024);
    expect(sent.length).toBeGreaterThan(3);
  });

  test('those that used the CPU before the others, which all come in turn', async () => {
    const subjects = Array.from({ length: 300 }, (_, i) => subject(`many${i}`));
    for (const { uid } of subjects) write(uid, 'first\n');
    const { tails, told, busy } = watch(subjects);
    for (let looks = 0; looks < 40; looks += 1) await tails.look();
    expect(told()).toHaveLength(300);
    for (const { uid } of subjects) write(uid, 'second\n');
    busy.push('nonce of many250');
    for (let looks = 0; looks < 2; looks += 1) await tails.look();
    const early = told().slice(300);
    expect(early.map(([uid]) => uid)).toContain('many250');
    expect(early.length).toBeLessThan(60);
    for (let looks = 0; looks < 30; looks += 1) await tails.look();
    const secondOf = told()
      .slice(300)
      .filter(([, , , , stdout]) => stdout === 'first\nsecond\n');
    expect(secondOf).toHaveLength(300);
  });

  test('what could not be told is told later; without a session nothing is', async () => {
    write('late', 'words\n');
    const { tails, told, state } = watch([subject('late')]);
    state.session = null;
    await tails.look();
    tails.changed(subject('late'));
    state.session = '1.2';
    state.refuse = true;
    await tails.look();
    expect(told()).toEqual([]);
    state.refuse = false;
    await tails.look();
    await tails.look();
    expect(told()).toEqual([['late', '0', 1, 1, 'words\n', '']]);
  });

  test('a file begun since, and one of which the end was reached before', async () => {
    write('turns', 'one\n');
    const { tails, told } = watch([subject('turns')]);
    await tails.look();
    const directory = directoryOf(subject('turns'));
    writeFileSync(join(directory, 'stdout.2.log'), 'two\n');
    await tails.look();
    writeFileSync(join(directory, 'stderr.1.log'), 'and this\n');
    await tails.look();
    expect(told().map(([, , , , stdout, stderr]) => [stdout, stderr])).toEqual([
      ['one\n', ''],
      ['one\ntwo\n', ''],
      ['one\ntwo\n', 'and this\n'],
    ]);
  });
});
