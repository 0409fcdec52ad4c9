import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { certificatesOf, hashOf } from '../../../pki/trust';
import { ClusterTls } from '../../../scheduler/tls/clusterTls';

const log = pino({ level: 'silent' });
const opened: ClusterTls[] = [];
let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'morch-cluster-tls-'));
});
afterEach(() => {
  for (const tls of opened.splice(0)) tls.close();
  fs.rmSync(directory, { recursive: true });
});

async function open(hosts = ['localhost'], validityMs = 90 * 86_400_000): Promise<ClusterTls> {
  const tls = await ClusterTls.open(directory, { hosts, validityMs }, log);
  opened.push(tls);
  return tls;
}
const shown = (tls: ClusterTls) => certificatesOf(String(tls.serverOptions.cert), 'it')[0]!.serialNumber;

test('authority and certificate are kept, and for their owner alone', async () => {
  const first = await open();
  const again = await open();
  expect(again.bundle).toBe(first.bundle);
  expect(shown(again)).toBe(shown(first));
  const modes = fs
    .readdirSync(path.join(directory, 'pki'))
    .map((name) => [name, fs.statSync(path.join(directory, 'pki', name)).mode & 0o777]);
  expect(modes).toEqual(['ca.crt', 'ca.key', 'scheduler.crt', 'scheduler.key'].map((name) => [name, 0o600]));
  expect(fs.statSync(path.join(directory, 'pki')).mode & 0o777).toBe(0o700);
});

test('the certificate is another one when it is to hold for a further name, or its key is gone', async () => {
  const first = shown(await open());
  const second = shown(await open(['localhost', 'scheduler.example']));
  expect(second).not.toBe(first);
  fs.rmSync(path.join(directory, 'pki', 'scheduler.key'));
  expect(shown(await open(['localhost', 'scheduler.example']))).not.toBe(second);
});

test('a key that a crash has left without its certificate is no authority yet', async () => {
  fs.mkdirSync(path.join(directory, 'pki'));
  fs.writeFileSync(path.join(directory, 'pki', 'ca.key'), 'half of one');
  expect((await open()).bundleHash).toMatch(/^[\w-]{43}$/);
});

test('the hash in join tokens is that of the authority’s certificate', async () => {
  const tls = await open();
  expect(tls.bundleHash).toBe(
    hashOf(certificatesOf(fs.readFileSync(path.join(directory, 'pki', 'ca.crt'), 'utf8'), 'it')),
  );
});
