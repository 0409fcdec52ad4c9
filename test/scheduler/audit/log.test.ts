/** The audit log on a real directory: what is written holds together, and what was done to it afterwards is found. */
import { spawnSync } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import type { AuditEntry } from '../../../contract/audit';
import { type AuditDraft, makeLine } from '../../../scheduler/audit/chain';
import { readHead } from '../../../scheduler/audit/files';
import { AuditLog } from '../../../scheduler/audit/log';
import { auditPage } from '../../../scheduler/audit/page';
import { runVerify } from '../../../scheduler/audit/verify';
import { until } from '../../support/until';

const log = pino({ level: 'silent' });
let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'morch-audit-'));
  file = path.join(directory, 'audit.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function change(what: string): AuditDraft {
  const who = { kind: 'token' as const, id: '0a1b2c3d', name: 'ci', role: 'operator' };
  return { at: new Date().toISOString(), who, from: '127.0.0.1', method: 'POST', path: '/workloads', what };
}

/** A log of a start, `count` changes, and an end. */
async function write(count: number, limits = {}): Promise<void> {
  const audit = await AuditLog.open(directory, log, limits);
  await Promise.all(Array.from({ length: count }, (_, i) => audit.record(change(`change ${i + 1}`))));
  await audit.close();
}

const linesOf = async () => (await readFile(file, 'utf8')).trimEnd().split('\n');
const put = (lines: readonly string[]) => writeFile(file, lines.map((line) => `${line}\n`).join(''));

async function verify(options: object = {}): Promise<string> {
  let printed = '';
  const spy = jest.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  try {
    await runVerify({ directory, ...options });
    return printed;
  } finally {
    spy.mockRestore();
  }
}

test('lines of one tick and of many follow on one another, over restarts', async () => {
  await write(50);
  await write(3);
  const lines = (await linesOf()).map((line) => JSON.parse(line) as AuditEntry);
  expect(lines.map(({ seq }) => seq)).toEqual(Array.from({ length: 57 }, (_, i) => i + 1));
  expect(lines[1]).toMatchObject({ what: 'change 1', who: { name: 'ci', role: 'operator' }, from: '127.0.0.1' });
  expect(await verify()).toMatch(/^unbroken: seq 1 to 57, .*\n53 of its changes have no result/);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test('a change is on the disk before it may be made', async () => {
  const audit = await AuditLog.open(directory, log);
  const seq = await audit.record(change('now'));
  expect(JSON.parse((await linesOf()).at(-1)!)).toMatchObject({ seq, what: 'now' });
  await audit.close();
});

test('the chain is what its description says, so that anybody can check it', async () => {
  await write(1);
  const second = (await linesOf())[1]!;
  const { prev, hash } = JSON.parse(second) as AuditEntry;
  const { stdout } = spawnSync(
    'sh',
    [
      '-c',
      `sed -n 2p "$1" | sed 's/,"hash":"[0-9a-f]*"}$/}/' | tr -d '\\n' | (printf %s "$2"; cat) | sha256sum`,
      'sh',
      file,
      prev,
    ],
    { encoding: 'utf8' },
  );
  expect(stdout.slice(0, 64)).toBe(hash);
});

describe('what was done to it is found, with the line', () => {
  beforeEach(() => write(8));

  test('a line was edited', async () => {
    const lines = await linesOf();
    await put(lines.map((line, at) => (at === 4 ? line.replace('change 4', 'change 5') : line)));
    await expect(verify()).rejects.toThrow(/audit\.log: line 5: it was changed after it was written/);
  });

  test('a line was edited, and its hash made to fit', async () => {
    const lines = await linesOf();
    const entry = JSON.parse(lines[4]!) as AuditEntry;
    const forged = makeLine({ ...entry, what: 'harmless' }, { seq: 4, hash: entry.prev });
    await put(lines.map((line, at) => (at === 4 ? forged.text : line)));
    await expect(verify()).rejects.toThrow(/line 6: it does not follow on the line before/);
  });

  test('a line was removed', async () => {
    await put((await linesOf()).filter((_, at) => at !== 4));
    await expect(verify()).rejects.toThrow(/line 5: it has seq 6, and seq 5 is missing before it/);
  });

  test('two lines were exchanged', async () => {
    const lines = await linesOf();
    [lines[4], lines[5]] = [lines[5]!, lines[4]!];
    await put(lines);
    await expect(verify()).rejects.toThrow(/line 5: it has seq 6, and seq 5 is missing/);
  });

  test('a line was copied', async () => {
    const lines = await linesOf();
    await put([...lines.slice(0, 5), lines[4]!, ...lines.slice(5)]);
    await expect(verify()).rejects.toThrow(/line 6: it has seq 5 where 6 is due/);
  });

  test('a line was cut in the middle', async () => {
    const lines = await linesOf();
    await put(lines.map((line, at) => (at === 4 ? line.slice(0, 40) : line)));
    await expect(verify()).rejects.toThrow(/line 5: it is no line of an audit log/);
  });

  test('the last line was cut', async () => {
    await truncate(file, (await stat(file)).size - 20);
    await expect(verify()).rejects.toThrow(/line 10: it is cut off/);
  });

  test('whole lines were cut off the end', async () => {
    await put((await linesOf()).slice(0, 7));
    await expect(verify()).rejects.toThrow(/after its line 7: it ends with seq 7, but seq 10 had been written/);
  });

  test('the whole log was removed', async () => {
    await rm(file);
    await expect(verify()).rejects.toThrow(/it has no line, but seq 10 had been written/);
  });

  test('a byte anywhere was flipped', async () => {
    const bytes = await readFile(file);
    const total = (await linesOf()).length;
    for (let at = 7; at < bytes.length; at += 97) {
      const flipped = Buffer.from(bytes);
      flipped[at]! ^= 1;
      await writeFile(file, flipped);
      const line = Math.min(total, bytes.subarray(0, at).filter((byte) => byte === 10).length + 1);
      await expect(verify()).rejects.toThrow(new RegExp(`line (${line}|${line + 1}):`));
    }
  });

  test('all of it was written anew, to one who has noted where it was', async () => {
    const noted = /later: (\S+)/.exec(await verify())![1]!;
    await write(2);
    expect(await verify({ expect: noted })).toMatch(/^unbroken/);
    await rm(directory, { recursive: true });
    await write(12);
    await expect(verify({ expect: noted })).rejects.toThrow(/seq 10 had another hash/);
  });

  test('and a log that goes on after it says so, and stays broken there', async () => {
    await put((await linesOf()).slice(0, 7));
    await write(2);
    const lines = await linesOf();
    expect(lines[7]).toContain('the log ends with seq 7, but seq 10 had been written: it was cut or changed');
    await expect(verify()).rejects.toThrow(/line 8: it has seq 11, and seq 8 to 10 are missing/);
  });
});

test('a line that was being written when the power went is taken off, which is told, and the chain is whole', async () => {
  await write(3);
  await appendFile(file, '{"seq":6,"at":"20');
  await write(1);
  expect((await linesOf())[5]).toContain('17 bytes of a line that was not finished were taken off the end');
  expect(await verify()).toMatch(/^unbroken: seq 1 to 9,/);
});

test('a log that is removed or changed under the running scheduler is found by its next line', async () => {
  const audit = await AuditLog.open(directory, log);
  await audit.record(change('before'));
  await rm(file);
  await audit.record(change('after'));
  await appendFile(file, 'a line of somebody else\n');
  await audit.record(change('at last'));
  await audit.close();
  const lines = await linesOf();
  expect(lines[0]).toContain('but seq 2 had been written: it was cut or changed');
  expect(lines.map((line) => /before|after|at last|somebody|had been written/.exec(line)?.[0])).toEqual([
    'had been written',
    'after',
    'somebody',
    'had been written',
    'at last',
    undefined,
  ]);
  await expect(verify()).rejects.toThrow(/line 1: by the scheduler's own word, .*it was cut or changed/);
  await expect(verify({ from: 3 })).rejects.toThrow(/line 3: it is no line of an audit log/);
});

test('a log that is renamed under the running scheduler, as logrotate does, is found by its next line', async () => {
  const audit = await AuditLog.open(directory, log);
  await audit.record(change('before'));
  await rename(file, `${file}.1`);
  await audit.record(change('after'));
  await audit.close();
  expect(await readFile(`${file}.1`, 'utf8')).not.toContain('after');
  expect((await linesOf())[0]).toMatch(/"seq":3,.*but seq 2 had been written: it was cut or changed/);
  await expect(verify()).rejects.toThrow(/line 1: by the scheduler's own word, .* is checked with --from 3/);
  expect(await verify({ from: 3 })).toMatch(/^unbroken: seq 3 to 5,.*; seq 1 to 2 are in files that are not here/);
});

test('a directory from which the log was removed stays broken, whatever is written afterwards', async () => {
  await write(3);
  await rm(file);
  await write(1);
  await write(1);
  await expect(verify()).rejects.toThrow(/line 1: by the scheduler's own word, the log .* seq 5 had been written/);
  await expect(verify({ files: [file] })).rejects.toThrow(/line 1: by the scheduler's own word/);
  expect(await verify({ from: 6 })).toMatch(/^unbroken: seq 6 to \d+,/);
  await expect(verify({ from: 5 })).rejects.toThrow('seq 5, from which on it is to be checked, is not in it');
});

test('audit.head is there from the first line on, and a directory without it is not whole', async () => {
  const audit = await AuditLog.open(directory, log);
  expect(await readHead(directory)).toMatchObject({ seq: 0 });
  expect(await verify()).toMatch(/^unbroken: seq 1 to 1,/);
  await audit.close();
  await put((await linesOf()).slice(0, 1));
  await rm(path.join(directory, 'audit.head'));
  await expect(verify()).rejects.toThrow('audit.head is not there, or damaged');
  // Nor does a scheduler that makes one hide it.
  await write(1);
  expect((await linesOf())[1]).toContain('the log has no audit.head');
  await expect(verify()).rejects.toThrow(/line 2: by the scheduler's own word/);
  expect(await verify({ from: 2 })).toMatch(/^unbroken: seq 2 to /);
});

test('is turned over when it is full, and read and checked over all files', async () => {
  await write(10, { fullBytes: 2_000 });
  for (let i = 0; i < 6; i += 1) await write(3, { fullBytes: 2_000 });
  const names = (await readdir(directory)).filter((name) => name.endsWith('.log')).sort();
  expect(names.length).toBeGreaterThan(3);
  expect(names[0]).toMatch(/^audit\.0{15}1\.log$/);
  expect(await verify()).toMatch(/^unbroken: seq 1 to 42,/);

  for (const limit of [1, 5, 1_000]) {
    const seqs: number[] = [];
    let cursor: string | undefined;
    do {
      const page = await auditPage(directory, { limit, cursor });
      seqs.push(...page.lines.map((line) => (line as AuditEntry).seq));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seqs).toEqual(Array.from({ length: 42 }, (_, i) => 42 - i));
  }

  // A page goes on where it was although the file has been turned over meanwhile.
  const first = await auditPage(directory, { limit: 1 });
  await write(12, { fullBytes: 2_000 });
  const next = await auditPage(directory, { limit: 1, cursor: first.nextCursor! });
  expect(next.lines).toMatchObject([{ seq: 41 }]);

  const copies = names.map((name) => path.join(directory, name)).reverse();
  expect(await verify({ files: copies.slice(0, -1).filter((name) => !name.endsWith('audit.log')) })).toMatch(
    /^unbroken: seq \d+ to \d+, .*; seq 1 to \d+ are in files that are not here/,
  );

  // Full files may be moved away, if one says so.
  await rename(path.join(directory, names[0]!), path.join(directory, 'away'));
  const firstSeq = Number(names[1]!.slice(6, 22));
  await expect(verify()).rejects.toThrow(
    `If they were moved away on purpose, check them there, and these with --from ${firstSeq}`,
  );
  expect(await verify({ from: firstSeq })).toMatch(`unbroken: seq ${firstSeq} to `);
  await rename(path.join(directory, 'away'), path.join(directory, names[0]!));
  await rename(path.join(directory, names[1]!), path.join(directory, 'away'));
  await expect(verify()).rejects.toThrow(/line 1: it has seq \d+, and seq \d+ to \d+ are missing before it/);
});

test('long lines and others than ASCII are read back from the end as they were written', async () => {
  const audit = await AuditLog.open(directory, log);
  const texts = Array.from({ length: 300 }, (_, i) => `${i} ${'äöü€😀'.repeat(i % 120)}`);
  for (const text of texts) void audit.record(change(text));
  await audit.close();
  const { lines } = await auditPage(directory, { limit: 1_000 });
  expect(
    lines
      .slice(1, -1)
      .map((line) => (line as AuditEntry).what)
      .reverse(),
  ).toEqual(texts);
  expect(await verify()).toMatch(/^unbroken/);
});

describe('a disk that is full', () => {
  const testAsRoot = process.geteuid?.() === 0 ? test : test.skip;
  let disk: string;
  beforeEach(() => {
    disk = path.join(directory, 'disk');
    spawnSync('mkdir', [disk]);
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'morch-audit', disk]);
  });
  afterEach(() => spawnSync('umount', [disk]));

  testAsRoot('refuses changes, keeps results, and goes on when there is room', async () => {
    const filling = path.join(disk, 'filling');
    const audit = await AuditLog.open(disk, log);
    await audit.record(change('before'));
    await writeFile(filling, Buffer.alloc(64 * 1024)).catch(() => undefined);
    await until(
      async () => {
        try {
          await audit.record(change('fits'));
          return false;
        } catch (error) {
          expect(error).toMatchObject({ code: 'AUDIT_UNWRITABLE', message: expect.stringContaining('ENOSPC') });
          return true;
        }
      },
      { what: 'the disk is full', timeoutMs: 10_000 },
    );
    expect(audit.unwritable).toContain('ENOSPC');
    audit.note({ ...change('a result'), result: { status: 201, of: 2 } });
    await expect(audit.record(change('refused'))).rejects.toMatchObject({ code: 'AUDIT_UNWRITABLE' });

    await rm(filling);
    // By itself, without a change that asks for it.
    await until(() => audit.unwritable === null, { what: 'it is written again', timeoutMs: 5_000 });
    await audit.record(change('after'));
    await audit.close();
    const { lines } = await auditPage(disk, { limit: 1_000 });
    const texts = lines.map((line) => (line as AuditEntry).what);
    expect(texts.slice(0, 4)).toEqual([
      'the scheduler stopped',
      'after',
      'a result',
      expect.stringMatching(/^could not be written from .* on$/),
    ]);
    expect(texts).not.toContain('refused');
    directory = disk;
    expect(await verify()).toMatch(/^unbroken/);
    directory = path.dirname(disk);
  });
});

test('one who asks again at the very moment of an answer is answered', async () => {
  const audit = await AuditLog.open(directory, log);
  for (let i = 0; i < 200; i += 1) await audit.record(change(`change ${i}`));
  await audit.close();
  expect(await linesOf()).toHaveLength(202);
});

test('a result is read at once, and known to the head a second later although no change follows', async () => {
  const audit = await AuditLog.open(directory, log);
  const of = await audit.record(change('it'));
  const head = () => readFile(path.join(directory, 'audit.head'), 'utf8').then((text) => Number(text.split(' ')[0]));
  audit.note({ ...change('done'), result: { status: 200, of } });
  await until(async () => (await linesOf()).length === of + 1, { what: 'it is written' });
  await until(async () => (await head()) === of + 1, { what: 'the head knows of it' });
  await audit.close();
  expect(await verify()).toMatch(/^unbroken: seq 1 to 4,[^\n]*\nnote/);
});
