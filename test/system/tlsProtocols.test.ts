/** What the ports of a cluster take of TLS, tried from outside: openssl, and testssl.sh where it is installed. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { hasOpenssl, openssl } from '../pki/openssl';
import { Cluster } from '../support/cluster';

jest.setTimeout(240_000);

const GOOD_12 = ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305'];

let cluster: Cluster;
/** Takes anything: what openssl cannot offer at all would seem to be refused. */
let anything: Server;
const ports = { scheduler: 0, agent: 0, anything: 0 };
const pki = (name: string) => path.join(cluster.directory, 'scheduler', 'pki', name);

beforeAll(async () => {
  cluster = await Cluster.start(1, { schedulerArgs: { tls: true } });
  const [cert, key] = ['scheduler.crt', 'scheduler.key'].map((name) => readFileSync(pki(name)));
  anything = createServer({ cert, key, minVersion: 'TLSv1', ciphers: 'ALL:eNULL:@SECLEVEL=0' } as object);
  anything.listen(0, '127.0.0.1');
  await once(anything, 'listening');
  ports.scheduler = cluster.scheduler.port;
  ports.agent = cluster.agents.get('n1')!.port;
  ports.anything = (anything.address() as { port: number }).port;
});
afterAll(async () => {
  anything?.close();
  await cluster?.close();
});

/** In a process of its own, so that a server in this one can answer. @returns what it wrote */
async function client(port: number, args: readonly string[], input = ''): Promise<string> {
  const known = ['-CAfile', pki('ca.crt'), '-cert', pki('scheduler.crt'), '-key', pki('scheduler.key')];
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...known, ...args]);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      text += data;
    });
  }
  child.stdin.on('error', () => {}).end(input);
  await once(child, 'close');
  return text;
}

/** @returns the cipher that was agreed on; null: none was */
async function handshake(port: number, args: readonly string[]): Promise<string | null> {
  const agreed = /Cipher is (\S+)/.exec(await client(port, ['-verify_return_error', ...args]))?.[1] ?? '(NONE)';
  return agreed === '(NONE)' ? null : agreed;
}

(hasOpenssl ? describe : describe.skip).each(['scheduler', 'agent'] as const)('the port of the %s', (part) => {
  test('takes TLS 1.2 and 1.3', async () => {
    expect(await handshake(ports[part], ['-tls1_2'])).toMatch(/^ECDHE-ECDSA-.*(GCM|POLY1305)/);
    expect(await handshake(ports[part], ['-tls1_3'])).toMatch(/^TLS_/);
  });

  test.each(['-tls1', '-tls1_1'])('refuses %s', async (version) => {
    const weak = [version, '-cipher', 'ALL:eNULL:@SECLEVEL=0'];
    expect(await handshake(ports.anything, weak)).not.toBeNull();
    expect(await handshake(ports[part], weak)).toBeNull();
  });

  test.each(GOOD_12)('takes %s', async (cipher) => {
    expect(await handshake(ports[part], ['-tls1_2', '-cipher', cipher])).toBe(cipher);
  });

  test('takes no other cipher of TLS 1.2, of all that there are', async () => {
    const others = ['ALL:eNULL', ...GOOD_12.map((cipher) => `!${cipher}`), '@SECLEVEL=0'].join(':');
    expect(openssl(['ciphers', '-tls1_2', others]).text.split(':').length).toBeGreaterThan(50);
    expect(await handshake(ports.anything, ['-tls1_2', '-cipher', others])).not.toBeNull();
    expect(await handshake(ports[part], ['-tls1_2', '-cipher', others])).toBeNull();
  });

  test('does not negotiate anew, and compresses nothing', async () => {
    const text = await client(ports[part], ['-tls1_2'], 'R\n');
    expect(text).toMatch(/no renegotiation/);
    expect(text).toContain('Compression: NONE');
  });
});

const testssl = ['testssl', 'testssl.sh'].find((name) => spawnSync(name, ['--version']).error === undefined);
const title = testssl === undefined ? ' (skipped: testssl.sh is not installed; apt install testssl.sh)' : '';

(testssl === undefined ? test.skip : test)(`testssl.sh finds no weakness of the scheduler's port${title}`, () => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'morch-testssl-'));
  const report = path.join(directory, 'report.json');
  const what = ['--protocols', '--std', '--fs', '--vulnerable', '--headers'];
  const args = ['--quiet', '--color', '0', '--warnings', 'off', '--jsonfile', report, ...what];
  spawnSync(testssl!, [...args, `https://127.0.0.1:${ports.scheduler}`], { timeout: 220_000 });
  const findings = JSON.parse(readFileSync(report, 'utf8')) as { id: string; severity: string; finding: string }[];
  rmSync(directory, { recursive: true });
  expect(findings.length).toBeGreaterThan(30);
  const weak = findings.filter(({ severity }) => ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL', 'FATAL'].includes(severity));
  // An API for programs, under names and addresses of its users' own networks: no browser is to remember that it speaks TLS.
  expect(weak.filter(({ id }) => id !== 'HSTS')).toEqual([]);
});
