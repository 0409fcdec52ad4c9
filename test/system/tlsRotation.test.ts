/** Certificates that last for seconds, replaced under load: nothing of it is noticed by anybody. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { connect } from 'node:tls';
import { Agent, request } from 'undici';
import { certificatesOf } from '../../pki/trust';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

jest.setTimeout(150_000);

/** Each is replaced after two thirds of it. */
const VALIDITY_MS = 18_000;
const REPLACED_TIMES = 2;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { tls: true, tlsValidityMs: VALIDITY_MS } });
});
afterAll(() => cluster?.close());

/** The certificate that a port shows, by its serial number. */
function shownOn(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

const certificateOf = (node: string): string => {
  const file = path.join(cluster.agents.get(node)!.dataDir, 'pki', 'node.pem');
  return certificatesOf(readFileSync(file, 'utf8'), file)[0]!.serialNumber;
};

test('no request fails and no node is lost while every certificate is replaced', async () => {
  const ca = readFileSync(cluster.caFile, 'utf8');
  const seen = { scheduler: new Set<string>(), n1: new Set<string>(), n2: new Set<string>() };
  const failures: string[] = [];
  let requests = 0;
  let over = false;
  const headers = { authorization: `Bearer ${cluster.tokens.admin}`, 'content-type': 'application/json' };

  /** Each request by a connection of its own, or all by one that is kept. */
  const load = async (keep: boolean) => {
    let dispatcher = new Agent({ connect: { ca } });
    while (!over) {
      try {
        const answer = await request(`${cluster.url}/health`, { headers, dispatcher });
        await answer.body.dump();
        if (answer.statusCode !== 200) failures.push(`/health answered ${answer.statusCode}`);
        requests += 1;
      } catch (error) {
        failures.push(String(error));
      }
      if (keep) continue;
      await dispatcher.close();
      dispatcher = new Agent({ connect: { ca } });
    }
    await dispatcher.close();
  };
  /** Programs that run on both agents, one after the other: starts, exits and stops go over TLS. */
  const work = async () => {
    for (let n = 0; !over; n += 1) {
      const id = `job-${n}`;
      await cluster.submit({ id, replicas: 2, command: ['true'] });
      const { status } = await cluster.untilWorkload(id, 'has ended', (w) => w.status === 'completed');
      if (status !== 'completed') failures.push(`${id} is ${status}`);
      await cluster.request('DELETE', `/workloads/${id}?purge=true`);
    }
  };
  const rotations = async () => {
    await until(
      async () => {
        seen.scheduler.add(await shownOn(cluster.scheduler.port));
        for (const node of ['n1', 'n2'] as const) seen[node].add(certificateOf(node));
        return Object.values(seen).every(({ size }) => size > REPLACED_TIMES);
      },
      { timeoutMs: 90_000, what: `every certificate has been replaced ${REPLACED_TIMES} times` },
    );
    over = true;
  };
  await Promise.all([load(true), load(false), load(false), work(), rotations()]);

  expect(failures).toEqual([]);
  expect(requests).toBeGreaterThan(100);
  const { body } = await cluster.request('GET', '/health/summary');
  expect(body).toMatchObject({ recentVerdicts: [], nodes: [{ status: 'healthy' }, { status: 'healthy' }] });
});

test('an agent that was away until its certificate was out of date is let in by its own token', async () => {
  await end(cluster.agents.get('n2')!.child, 'SIGTERM');
  const before = certificateOf('n2');
  const file = path.join(cluster.agents.get('n2')!.dataDir, 'pki', 'node.pem');
  const [certificate] = certificatesOf(readFileSync(file, 'utf8'), file);
  await until(() => Date.now() > Date.parse(certificate!.validTo), {
    timeoutMs: 2 * VALIDITY_MS,
    what: 'it is out of date',
  });
  await cluster.startAgent('n2', { joinTokenFile: '/nonexistent' });
  await cluster.untilNode('n2', 'healthy');
  expect(certificateOf('n2')).not.toBe(before);
});
