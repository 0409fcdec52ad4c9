/** By what the scheduler knows the agent that it calls. Agents are played by servers that show certificates of the cluster. */
import { once } from 'node:events';
import fs from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { makeRequest } from '../../../pki/issue';
import { TLS_SETTINGS } from '../../../pki/settings';
import { type AgentAddress, AgentClient } from '../../../scheduler/agentClient';
import { askForPiece } from '../../../scheduler/http/agentLogs';
import { openMemoryStore } from '../../../scheduler/store/memory';
import { ClusterTls } from '../../../scheduler/tls/clusterTls';
import { NodeCertificates } from '../../../scheduler/tls/nodeCertificates';
import { OwnWires, probeOnce } from '../../../scheduler/wires/wires';
import { KINDS } from '../wires/kinds';

const HOUR_MS = 3_600_000;
const NOT_AN_AGENT = { kind: 'strange', error: 'did not answer as an agent does' };
const REVOKED = { kind: 'refused', error: expect.stringContaining('it was revoked') };

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'morch-node-certificates-'));
const servers: Server[] = [];
let tls: ClusterTls;
let certificates: NodeCertificates;
/** Of the latest handshakes: whether they resumed a session. */
let resumed: boolean[] = [];
/** What servers were sent. */
let heard: string[] = [];
beforeAll(async () => {
  const log = pino({ level: 'silent' });
  tls = await ClusterTls.open(directory, { hosts: ['localhost'], validityMs: 24 * HOUR_MS }, log);
});
beforeEach(async () => {
  certificates = await NodeCertificates.load(openMemoryStore(), { put: () => {} }, tls, []);
  [resumed, heard] = [[], []];
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => {
  tls.close();
  fs.rmSync(directory, { recursive: true });
});

interface Issued {
  cert: string;
  key: string;
}

async function issue(node: string, { isFirst = false, agoMs = 0 } = {}): Promise<Issued> {
  const { key, request } = await makeRequest({ kind: 'node', id: node });
  const atMs = Date.now() - agoMs;
  const clock = jest.spyOn(Date, 'now').mockReturnValue(atMs);
  const { certificate: cert } = await certificates.issue(node, request, isFirst);
  clock.mockRestore();
  return { cert, key };
}

/** Somebody who shows that certificate. */
async function serve(issued: Issued, versions: object = {}): Promise<Server> {
  const demands = { ca: tls.bundle, requestCert: true, rejectUnauthorized: true };
  const server = createServer({ ...TLS_SETTINGS, ...versions, ...issued, ...demands }, (message, response) => {
    heard.push(`${message.url} ${message.headers.authorization}`);
    response.end('{}');
  });
  server.on('upgrade', (message, socket) => {
    heard.push(`${message.url} ${message.headers.authorization}`);
    socket.destroy();
  });
  server.on('secureConnection', (socket: TLSSocket) => resumed.push(socket.isSessionReused()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  return server;
}

const addressOf = (server: Server, node: string): AgentAddress => ({
  host: '127.0.0.1',
  port: (server.address() as AddressInfo).port,
  token: 'the-new-token',
  tls: certificates.toNode(node),
});

test.each(KINDS)(
  'a probe resumes the session of the one before, a handshake without signatures: %s',
  async (_, make) => {
    const wires = make();
    const address = addressOf(await serve(await issue('n1')), 'n1');
    for (let n = 0; n < 3; n += 1) {
      const prober = wires.prober();
      expect(await prober.probe(address, 2_000, false)).toMatchObject(NOT_AN_AGENT);
      prober.close();
    }
    expect(resumed).toEqual([false, true, true]);
    await wires.close();
  },
);

test('a probe is refused when the agent of another node answers', async () => {
  const address = addressOf(await serve(await issue('n2')), 'n1');
  expect(await probeOnce(new OwnWires(), address, 2_000)).toMatchObject({
    kind: 'refused',
    error: expect.stringContaining('the certificate is of node:n2'),
  });
});

describe.each(['TLSv1.2', 'TLSv1.3'])('by %s, a certificate that was revoked', (version) => {
  const versions = { minVersion: version, maxVersion: version };

  test('is not believed any more, also in the session that was begun with it', async () => {
    const address = addressOf(await serve(await issue('n1', { agoMs: HOUR_MS }), versions), 'n1');
    expect(await probeOnce(new OwnWires(), address, 2_000)).toMatchObject(NOT_AN_AGENT);
    expect(await probeOnce(new OwnWires(), address, 2_000)).toMatchObject(NOT_AN_AGENT);
    expect(resumed).toEqual([false, true]);
    certificates.revoke('n1');
    heard = [];
    // Whoever has the node's address from before, and whoever asks for it anew.
    expect(await probeOnce(new OwnWires(), address, 2_000)).toMatchObject(REVOKED);
    expect(await probeOnce(new OwnWires(), { ...address, tls: certificates.toNode('n1') }, 2_000)).toMatchObject(
      REVOKED,
    );
    expect(heard).toEqual([]);
  });
});

test('a session that ends its handshake after the revocation is not kept', async () => {
  const stale = certificates.toNode('n1')!;
  const begun = stale.connection();
  certificates.revoke('n1');
  stale.keepSession(Buffer.from('a session'), begun);
  expect(stale.connection().session).toBeUndefined();
});

test('whoever shows the certificate that another has replaced is sent nothing, whatever is asked of it', async () => {
  const former = await serve(await issue('n1', { isFirst: true, agoMs: HOUR_MS }));
  const present = await serve(await issue('n1', { isFirst: true }));
  const address = addressOf(former, 'n1');
  expect(await probeOnce(new OwnWires(), address, 2_000)).toMatchObject(REVOKED);
  const client = new AgentClient(address);
  await expect(client.start([], 2_000)).rejects.toThrow('it was revoked');
  await expect(client.kept({ clusterId: 'c', epoch: 1 }, 2_000)).rejects.toThrow('it was revoked');
  await client.close();
  const piece = { node: { ...address, reachable: true }, instanceId: 'web', uid: 'u', slot: '0' };
  const answer = await askForPiece(piece as never, { stream: 'both' } as never, AbortSignal.timeout(5_000));
  expect(answer).toEqual({ kind: 'unreachable' });
  for (const [, make] of KINDS) {
    const wires = make();
    expect(await wires.prober().probe(address, 2_000, true)).toMatchObject(REVOKED);
    const errors: string[] = [];
    const closed = new Promise((onClose) =>
      wires.open(address, '/events', 2_000, { onMessage: () => {}, onError: (error) => errors.push(error), onClose }),
    );
    await closed;
    expect(errors).toEqual([expect.stringContaining('it was revoked')]);
    await wires.close();
  }
  expect(heard).toEqual([]);

  expect(await probeOnce(new OwnWires(), addressOf(present, 'n1'), 2_000)).toMatchObject(NOT_AN_AGENT);
  expect(heard).toEqual([expect.stringContaining('the-new-token')]);
});

test('a certificate that its node has renewed itself goes on to count', async () => {
  await issue('n1', { isFirst: true, agoMs: HOUR_MS });
  const renewed = await issue('n1');
  expect(await probeOnce(new OwnWires(), addressOf(await serve(renewed), 'n1'), 2_000)).toMatchObject(NOT_AN_AGENT);
});

test('what was revoked stays so when the scheduler starts anew', async () => {
  const store = openMemoryStore();
  const batch: { key: string; value: unknown }[] = [];
  const state = { put: (key: string, value: unknown) => void batch.push({ key, value }) };
  certificates = await NodeCertificates.load(store, state as never, tls, []);
  const former = await serve(await issue('n1', { agoMs: HOUR_MS }));
  certificates.revoke('n1');
  const kept = {
    range: async function* () {
      for (const { key, value } of batch) yield [key, value] as const;
    },
  };
  certificates = await NodeCertificates.load(kept as never, { put: () => {} }, tls, []);
  expect(await probeOnce(new OwnWires(), addressOf(former, 'n1'), 2_000)).toMatchObject(REVOKED);
});
