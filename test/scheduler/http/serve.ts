/** Serves a fake scheduler on a real port, for one test file; nobody is asked who they are unless `auth` is set. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { Connections } from '../../../access/connections';
import { Guard } from '../../../scheduler/access/guard';
import type { NodeTokens } from '../../../scheduler/access/nodeTokens';
import { TokenService } from '../../../scheduler/access/tokenService';
import { Tokens } from '../../../scheduler/access/tokens';
import { AuditLog } from '../../../scheduler/audit/log';
import { AuditTrail } from '../../../scheduler/audit/trail';
import { EventLog } from '../../../scheduler/events/feed';
import { createEventSockets } from '../../../scheduler/events/webSocket';
import { createApp } from '../../../scheduler/http/app';
import { messagesOf } from '../../../scheduler/http/messages';
import { type HttpServer, startHttpServer } from '../../../scheduler/http/server';
import { openMemoryStore } from '../../../scheduler/store/memory';
import type { Store } from '../../../scheduler/store/store';
import { openAccess } from '../openAccess';
import { type FakeApi, fakeApi } from './fakeApi';

export interface Served {
  app: ReturnType<typeof createApp>;
  api: FakeApi;
  tokens: Tokens;
  nodeTokens: NodeTokens;
  audit: AuditTrail;
  store: Store;
  events: EventLog;
  http: HttpServer;
  url: string;
  /** The server's ends of the open connections. */
  sockets(): Socket[] | undefined;
  close(): Promise<void>;
}

export async function serveFake(
  options: { pingMs?: number; stuckMs?: number; firstSeq?: number; lastSeq?: number; auth?: boolean } = {},
): Promise<Served> {
  const { firstSeq = 1, lastSeq = 0, auth = false, ...limits } = options;
  const api = fakeApi();
  const store = openMemoryStore();
  const events = new EventLog(store, { firstSeq, lastSeq });
  const log = pino({ level: 'silent' });
  const tokens = await Tokens.load(store, { put: () => {}, delete: () => {} }, []);
  const { nodeTokens, certificates } = openAccess();
  const connections = new Connections();
  const guard = new Guard({
    tokens,
    nodeTokens,
    certificates,
    connections,
    allowedHosts: new Set(),
    auth,
    rateLimit: 0,
  });
  const journal = { assertWritable: () => {}, commit: async () => {} };
  const tokenService = new TokenService(tokens, journal, '/nonexistent', () => guard.endGone(Date.now()));
  const auditDirectory = await mkdtemp(path.join(tmpdir(), 'morch-audit-'));
  const audit = new AuditTrail(await AuditLog.open(auditDirectory, log));
  const trust = { bundle: 'an authority' };
  const metrics = { answered: () => {}, refused: () => {}, text: async () => 'morch_nodes 1\n' };
  const eventSockets = createEventSockets({ events, guard, audit, log, ...limits });
  const app = createApp({ api, events, guard, tokens: tokenService, trust, audit, metrics, log });
  const http = await startHttpServer({
    host: '127.0.0.1',
    port: 0,
    app,
    messages: messagesOf(app),
    upgrade: eventSockets.upgrade,
    connections,
  });
  const sockets = new Set<Socket>();
  http.server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  return {
    app,
    api,
    tokens,
    nodeTokens,
    audit,
    store,
    events,
    http,
    url: `http://127.0.0.1:${http.port}`,
    sockets: () => (sockets.size === 0 ? undefined : [...sockets]),
    close: async () => {
      eventSockets.close();
      await http.close(50);
      await audit.close();
      await rm(auditDirectory, { recursive: true });
    },
  };
}

/** Sends bytes as they are and gives back all that comes until the connection ends. */
export function exchange(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', (error) => (answer === '' ? reject(error) : resolve(answer)));
    socket.on('close', () => resolve(answer));
  });
}
