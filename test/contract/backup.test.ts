import { createHash } from 'node:crypto';
import { BackupReader } from '../../contract/backup';
import { random } from '../support/random';

const HEADER = { format: 'morch-backup', version: 1, schema: 2, clusterId: 'c1', epoch: 3, seq: 9, createdAt: 'now' };

function backup(records: [string, unknown][], header: object = HEADER): string {
  const content = [header, ...records].map((line) => `${JSON.stringify(line)}\n`).join('');
  const sha256 = createHash('sha256').update(content).digest('hex');
  return `${content}${JSON.stringify({ records: records.length, sha256 })}\n`;
}

const RECORDS: [string, unknown][] = [
  ['a', { text: 'ä\n{"' }],
  ['b', 1],
  ['c', null],
];

/** Reads it in pieces of the given sizes. */
function read(text: string | Buffer, next: () => number = () => 1_000_000) {
  const bytes = Buffer.from(text);
  const reader = new BackupReader(createHash('sha256'));
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + next();
    lines.push(...reader.push(bytes.subarray(at, end)).map((line) => Buffer.from(line).toString()));
    at = end;
  }
  return { ...reader.end(), lines };
}

it('comes apart into header, records and trailer, however it is cut', () => {
  const next = random(1);
  for (const size of [() => 1, () => 7, () => 1 + next(40), () => 1_000_000]) {
    const { header, trailer, lines } = read(backup(RECORDS), size);
    expect(header).toEqual(HEADER);
    expect(lines.map((line) => JSON.parse(line))).toEqual(RECORDS);
    expect(trailer.records).toBe(3);
  }
  expect(read(backup([])).lines).toEqual([]);
});

it('is refused when any byte of it was altered, or its end is missing', () => {
  const whole = Buffer.from(backup(RECORDS));
  for (let at = 0; at < whole.length; at++) {
    const altered = Buffer.from(whole);
    altered[at] = altered[at]! ^ 1;
    expect(() => read(altered)).toThrow(/not a whole backup|cut off|altered or damaged/);
    expect(() => read(whole.subarray(0, at))).toThrow(/not a whole backup|cut off/);
  }
});

it.each([
  ['nothing', '', /it has no first line/],
  ['something else', 'hello\n', /its first line is not that of one/],
  ['two in one', backup(RECORDS) + backup(RECORDS), /something follows on its last line/],
  ['a record too few', backup(RECORDS).replace('["b",1]\n', ''), /altered or damaged/],
  ['one of a later version', backup(RECORDS, { ...HEADER, version: 2 }), /later version of morch \(format 2/],
])('is refused when it is %s', (_what, text, message) => {
  expect(() => read(text)).toThrow(message);
});
