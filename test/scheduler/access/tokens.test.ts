/** Tokens as records: what opens, what does not any more, and what is kept of them. */
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makeToken, parseToken, tokenText } from '../../../access/tokenText';
import { provideTokenFiles, removeFileOf } from '../../../scheduler/access/tokenFiles';
import { Tokens, tokenView } from '../../../scheduler/access/tokens';

const NOW = Date.parse('2026-03-04T05:06:07.000Z');
let records: Map<string, unknown>;
const store = {
  range: async function* () {
    yield* [...records].map(([key, value]) => [key, structuredClone(value)] as [string, unknown]);
  },
};
const state = {
  put: (key: string, value: unknown) => void records.set(key, value),
  delete: (key: string) => void records.delete(key),
};
const load = (notes: string[] = []) => Tokens.load(store, state, notes);
beforeEach(() => {
  records = new Map();
});

describe('the text of a token', () => {
  test('is read as it was made', () => {
    for (const role of ['read', 'operator', 'admin', 'join', 'agent'] as const) {
      const parts = makeToken(role);
      expect(parseToken(tokenText(parts))).toEqual(parts);
      expect(Buffer.from(parts.secret, 'base64url')).toHaveLength(32);
    }
  });

  test('may tell of a CA behind a dot', () => {
    const parts = { ...makeToken('join'), caHash: makeToken('join').secret };
    expect(parseToken(tokenText(parts))).toEqual(parts);
  });

  test.each(['', 'morch_admin_', 'morch_root_00000000_', ' ', 'morch_admin_0000000g_', '\0'])(
    'is not "%s" with a secret behind it',
    (head) => expect(parseToken(head + makeToken('read').secret)).toBeNull(),
  );
});

describe('a token', () => {
  test('opens until it expires, and after that says so to who has its secret', async () => {
    const tokens = await load();
    const { parts } = tokens.create({ name: 'ci', role: 'operator', expiresInMs: 1_000 }, NOW);
    expect(tokens.verify(tokenText(parts), NOW + 999)).toMatchObject({ name: 'ci', role: 'operator' });
    expect(() => tokens.verify(tokenText(parts), NOW + 1_000)).toThrow('it expired at 2026-03-04T05:06:08.000Z');
    expect(tokens.isGood(parts.id, NOW + 1_000)).toBe(false);
    const guess = tokenText({ ...parts, secret: makeToken('read').secret });
    expect(() => tokens.verify(guess, NOW + 1_000)).toThrow('not one of this scheduler');
  });

  test('is the same after a restart, and what is kept of it does not hold its secret', async () => {
    const { parts, record } = (await load()).create({ name: 'ci', role: 'read' }, NOW);
    expect(JSON.stringify([...records])).not.toContain(parts.secret);
    expect(JSON.stringify(tokenView(record))).not.toContain(record.sha256);
    expect((await load()).verify(tokenText(parts), NOW).name).toBe('ci');
  });

  test('that was revoked opens nothing, nor after a restart', async () => {
    const tokens = await load();
    const { parts } = tokens.create({ name: 'ci', role: 'read' }, NOW);
    tokens.remove(parts.id);
    for (const now of [tokens, await load()]) expect(() => now.verify(tokenText(parts), NOW)).toThrow('revoked');
  });

  test('lets in no more nodes than it may, over restarts, and takes back a use that came to nothing', async () => {
    const tokens = await load();
    const { parts } = tokens.create({ name: 'rack', role: 'join', maxUses: 2 }, NOW);
    tokens.takeUse(parts.id);
    tokens.takeUse(parts.id)();
    tokens.takeUse(parts.id);
    expect(() => tokens.takeUse(parts.id)).toThrow('as many nodes as it may');
    expect(() => tokens.verify(tokenText(parts), NOW)).toThrow('as many nodes as it may');
    const later = await load();
    expect(() => later.verify(tokenText(parts), NOW)).toThrow('as many nodes as it may');
  });

  test('whose record is damaged opens nothing, and the log is told', async () => {
    const { parts } = (await load()).create({ name: 'ci', role: 'read' }, NOW);
    const [[key, record]] = [...records] as [[string, object]];
    records.set(key, { ...record, sha256: 'short' });
    const notes: string[] = [];
    const tokens = await load(notes);
    expect(notes).toEqual([expect.stringContaining('cannot be read')]);
    expect(() => tokens.verify(tokenText(parts), NOW)).toThrow('not one of this scheduler');
  });
});

describe('the files of the first start', () => {
  let dir: string;
  const read = (name: string) => readFile(path.join(dir, name), 'utf8');
  const opens = async (text: string) => {
    try {
      return (await load()).verify(text.trim(), NOW).role;
    } catch {
      return null;
    }
  };
  beforeEach(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'morch-token-files-'));
    await provideTokenFiles(dir, await load(), NOW);
  });
  afterEach(() => rm(dir, { recursive: true }));

  test('are for their owner alone, and open', async () => {
    expect(await opens(await read('admin.token'))).toBe('admin');
    expect(await opens(await read('join.token'))).toBe('join');
    for (const name of ['admin.token', 'join.token']) {
      expect((await stat(path.join(dir, name))).mode & 0o777).toBe(0o600);
    }
  });

  test('stay as they are at later starts, over a store that has lost them too', async () => {
    const [admin, join] = [await read('admin.token'), await read('join.token')];
    await provideTokenFiles(dir, await load(), NOW);
    expect(records.size).toBe(2);
    records.clear();
    await provideTokenFiles(dir, await load(), NOW);
    expect([await read('admin.token'), await read('join.token')]).toEqual([admin, join]);
    expect(await opens(admin)).toBe('admin');
  });

  test('that are gone are made anew, and what they held is revoked', async () => {
    const old = await read('admin.token');
    await rm(path.join(dir, 'admin.token'));
    await provideTokenFiles(dir, await load(), NOW);
    expect(await read('admin.token')).not.toBe(old);
    expect(await opens(old)).toBeNull();
    expect(await opens(await read('admin.token'))).toBe('admin');
  });

  test('that others could read are closed to them again', async () => {
    await chmod(path.join(dir, 'admin.token'), 0o644);
    await provideTokenFiles(dir, await load(), NOW);
    expect((await stat(path.join(dir, 'admin.token'))).mode & 0o777).toBe(0o600);
  });

  test('with something else in them are not taken', async () => {
    await writeFile(path.join(dir, 'admin.token'), await read('join.token'));
    await expect(provideTokenFiles(dir, await load(), NOW)).rejects.toThrow('does not hold a token of the role admin');
  });

  test('of a token that was revoked are gone, so that no start brings it back', async () => {
    const old = await read('admin.token');
    await removeFileOf(dir, 'admin.token');
    await provideTokenFiles(dir, await load(), NOW);
    expect(await opens(old)).toBeNull();
    await removeFileOf(dir, '../store');
  });
});
