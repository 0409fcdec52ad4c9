/** Certificates that are brought along, made by openssl as an organisation's authority would; and agents that are used alone. */

import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { connect } from 'node:tls';
import { Agent, request } from 'undici';
import { morch } from '../cli/morch';
import { hasOpenssl, openssl } from '../pki/openssl';
import { Agents } from '../support/agent';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

jest.setTimeout(90_000);

const directory = mkdtempSync(path.join(os.tmpdir(), 'morch-own-'));
const at = (name: string) => path.join(directory, name);
afterAll(() => rmSync(directory, { recursive: true }));

/** `<name>.crt` and `<name>.key`; of `company.crt` unless it is that itself. */
function makeCertificate(name: string, serial: number, hosts?: string): void {
  const make = (args: string[]) => {
    const { code, text } = openssl(args);
    if (code !== 0) throw new Error(`openssl ${args.join(' ')}: ${text}`);
  };
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', at(`${name}.key`), '-days', '30'];
  if (hosts === undefined) {
    make(['req', '-x509', ...key, '-subj', '/O=Company/CN=Company CA', '-out', at(`${name}.crt`)]);
    return;
  }
  const signed = ['-CA', at('company.crt'), '-CAkey', at('company.key'), '-set_serial', String(serial)];
  const extensions = ['-addext', `subjectAltName=${hosts}`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  make(['req', '-x509', ...key, '-subj', `/CN=${name}`, ...signed, ...extensions, '-out', at(`${name}.crt`)]);
}

/** The serial number, in hex. */
function shownOn(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

(hasOpenssl ? describe : describe.skip)('a scheduler that shows a certificate of the company', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    makeCertificate('company', 1);
    makeCertificate('first', 0x11, 'DNS:localhost,IP:127.0.0.1');
    makeCertificate('second', 0x22, 'DNS:localhost,IP:127.0.0.1');
    copyFileSync(at('first.crt'), at('shown.crt'));
    copyFileSync(at('first.key'), at('shown.key'));
    const own = { tlsCert: at('shown.crt'), tlsKey: at('shown.key'), tlsCa: at('company.crt') };
    cluster = await Cluster.start(1, { schedulerArgs: { tls: true, ...own }, trust: at('company.crt') });
  });
  afterAll(() => cluster?.close());

  test('is joined by the hash in the join token, and found by commands through the company', async () => {
    await cluster.submit({ id: 'job', command: ['true'] });
    await cluster.untilStatus('job', 'completed');
    const found = await morch(['nodes', '-q'], { env: { ...cluster.env, MORCH_CACERT: at('company.crt') } });
    expect(found.stdout.trim()).toBe('n1');
    const by = await morch(['nodes', '-q'], { env: { ...cluster.env, MORCH_CACERT: cluster.caFile } });
    expect(by.exitCode).toBe(5);
  });

  test('is not taken for one of another name, though the company has signed it', async () => {
    makeCertificate('elsewhere', 0x44, 'DNS:elsewhere.example,IP:10.0.0.9');
    const tls = { cert: readFileSync(at('elsewhere.crt')), key: readFileSync(at('elsewhere.key')) };
    const other = createServer(tls, (_, response) => response.end('{}')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const url = `https://127.0.0.1:${(other.address() as { port: number }).port}`;
    const env = { ...cluster.env, MORCH_ADDRESS: url, MORCH_CACERT: at('company.crt') };
    expect(await morch(['nodes'], { env })).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining("does not match certificate's altnames"),
    });
    other.close();
  });

  test('shows another one soon after its files have changed, and keeps the present one while they do not fit', async () => {
    const { port } = cluster.scheduler;
    expect(await shownOn(port)).toBe('11');
    copyFileSync(at('second.crt'), at('shown.crt'));
    await until(async () => (await cluster.logOf('scheduler')).includes('the present certificate is kept'), {
      timeoutMs: 30_000,
      what: 'the scheduler finds a certificate without its key',
    });
    expect(await shownOn(port)).toBe('11');
    copyFileSync(at('second.key'), at('shown.key'));
    await until(async () => (await shownOn(port)) === '22', {
      timeoutMs: 30_000,
      everyMs: 200,
      what: 'the new one is shown',
    });
    await cluster.untilNode('n1', 'healthy');
  });

  test('takes an agent that shows one of the company for its host', async () => {
    makeCertificate('agent', 0x33, 'IP:127.0.0.1');
    await cluster.startAgent('own', { tlsCert: at('agent.crt'), tlsKey: at('agent.key') });
    await cluster.untilNode('own', 'healthy');
    await end(cluster.agents.get('own')!.child, 'SIGTERM');
  });

  test('does not take one that shows it for another host', async () => {
    await cluster.startAgent('odd', { tlsCert: at('elsewhere.crt'), tlsKey: at('elsewhere.key') });
    await until(async () => (await cluster.logOf('odd')).includes('NODE_UNREACHABLE'), {
      timeoutMs: 15_000,
      what: 'it is refused',
    });
    expect((await cluster.fetch('/nodes/odd')).status).toBe(404);
    await end(cluster.agents.get('odd')!.child, 'SIGTERM');
  });
});

describe('a certificate that cannot be shown', () => {
  const start = (...args: string[]) => morch(['scheduler', '--data-dir', at('refused'), '--port', '1', ...args]);

  test('is refused with the flag that names it', async () => {
    writeFileSync(at('nonsense'), 'nonsense');
    const one = await start('--tls-cert', at('nonsense'));
    expect(one).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('--tls-cert and --tls-key go together') });
    const none = await start('--tls-cert', at('nothing'), '--tls-key', at('nothing'));
    expect(none).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining(`Cannot read --tls-cert ${at('nothing')}`),
    });
    const wrong = await start('--tls-cert', at('nonsense'), '--tls-key', at('nonsense'));
    expect(wrong).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('are no certificate and its key') });
    const authority = await start('--tls', '--tls-ca', at('nonsense'));
    expect(authority).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('--tls-ca must hold certificates'),
    });
  });

  test('of a cluster, its key gone, is said and not made anew', async () => {
    const cluster = await Cluster.start(0, { schedulerArgs: { tls: true } });
    await end(cluster.scheduler.child, 'SIGTERM');
    rmSync(path.join(cluster.scheduler.dataDir, 'pki', 'ca.key'));
    await expect(cluster.startScheduler()).rejects.toThrow(/ca\.key are no authority: the key is missing/);
    await cluster.close();
  });
});

describe('an agent that is used alone', () => {
  const agents = new Agents();
  afterAll(() => agents.endAll());

  test('speaks TLS by an authority of its own, keeps it, and asks for its token', async () => {
    const agent = await agents.start({ name: 'alone', tls: true });
    expect(agent.address).toMatch(/^https:/);
    const ca = readFileSync(path.join(agent.dataDir, 'pki', 'ca.crt'), 'utf8');
    const ask = async (headers: Record<string, string>) => {
      const dispatcher = new Agent({ connect: { ca } });
      const { statusCode, body } = await request(`${agent.address}/status`, { dispatcher, headers });
      await body.dump();
      await dispatcher.close();
      return statusCode;
    };
    expect(await ask({})).toBe(401);
    expect(await ask({ authorization: `Bearer ${agent.token}` })).toBe(200);
    const before = await shownOn(agent.port);
    await agent.end();
    const again = await agents.restart(agent);
    expect(await shownOn(again.port)).toBe(before);
  });
});
