/**
 * A probe: GET /status on a fresh connection. Of all that a scheduler does this is done most, of each node every few seconds, so it is
 * written to the socket as it is: a request of Node's client takes three times as long.
 */
import net from 'node:net';
import { performance } from 'node:perf_hooks';
import tls from 'node:tls';
import { type AgentStatus, agentStatusSchema } from '../contract/agentApi';
import type { SystemFailure } from '../contract/errors';
import { type AgentAddress, urlHost } from './agentClient';

/** More is no status. */
const ANSWER_BYTES = 1024 ** 2;
const HEAD_END = '\r\n\r\n';

export type ProbeResult =
  | { kind: 'answered'; status: AgentStatus; latencyMs: number }
  /** Nobody listens there, the connection was reset, or there is no way to the host. */
  | { kind: 'refused'; error: string; system: SystemFailure | undefined; latencyMs: number }
  | { kind: 'timedOut'; error: string; latencyMs: number }
  /** It answered, but not as an agent does. `needsToken`: it does not take the one that is known, if one is. */
  | { kind: 'strange'; error: string; needsToken?: boolean; latencyMs: number };

/** Never rejects. */
export function probeAgent(address: AgentAddress, timeoutMs: number): Promise<ProbeResult> {
  const startedAt = performance.now();
  const latencyMs = (): number => Math.round((performance.now() - startedAt) * 10) / 10;
  return new Promise((resolve) => {
    const socket = connectTo(address);
    const timer = setTimeout(() => {
      resolve({ kind: 'timedOut', error: `no answer within ${timeoutMs} ms`, latencyMs: latencyMs() });
      socket.destroy();
    }, timeoutMs);
    let received: Buffer | null = null;
    socket.on('data', (chunk) => {
      received = received === null ? chunk : Buffer.concat([received, chunk]);
      const answer = received.length > ANSWER_BYTES ? NO_ANSWER : answerIn(received);
      if (answer === null) return;
      resolve(readStatus(answer.status, answer.text, latencyMs()));
      // It is the agent that ends the connection, as it was asked to.
      socket.removeAllListeners('data').resume();
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ kind: 'refused', error: error.message, system: systemFailureOf(error), latencyMs: latencyMs() }),
    );
    socket.on('close', () => {
      clearTimeout(timer);
      resolve({ kind: 'refused', error: 'socket hang up', system: undefined, latencyMs: latencyMs() });
    });
    socket.write(requestTo(address));
  });
}

function connectTo({ host, port, tls: secured }: AgentAddress): net.Socket {
  if (secured === undefined) return net.connect({ host, port, noDelay: true });
  const settings = secured.connection();
  const socket = tls.connect({ host, port, ...settings });
  return socket.on('session', (session) => secured.keepSession(session, settings));
}

function requestTo(address: AgentAddress): string {
  const credentials = address.token === undefined ? '' : `Authorization: Bearer ${address.token}\r\n`;
  return `GET /status?processes=false HTTP/1.1\r\nHost: ${urlHost(address)}\r\nConnection: close\r\n${credentials}\r\n`;
}

interface Answer {
  status: number;
  text: string;
}

const NO_ANSWER: Answer = { status: 0, text: '' };

/** @returns null while it is not there in full; status 0: it is none of HTTP, or not in the form in which agents answer */
function answerIn(bytes: Buffer): Answer | null {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return null;
  const head = bytes.toString('latin1', 0, end);
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
  if (status === undefined) return NO_ANSWER;
  // Only of what agents answer with is more than the status of interest.
  if (status !== '200') return { status: Number(status), text: '' };
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) return NO_ANSWER;
  const from = end + HEAD_END.length;
  return bytes.length < from + length ? null : { status: 200, text: bytes.toString('utf8', from, from + length) };
}

function systemFailureOf({ syscall, errno, code }: NodeJS.ErrnoException): SystemFailure | undefined {
  if (syscall === undefined || errno === undefined || code === undefined) return undefined;
  return { syscall, errno: Math.abs(errno), errnoCode: code };
}

function readStatus(code: number, text: string, latencyMs: number): ProbeResult {
  if (code === 401)
    return { kind: 'strange', error: 'does not take the token known of it', needsToken: true, latencyMs };
  if (code === 0) return { kind: 'strange', error: 'did not answer as an agent does', latencyMs };
  if (code !== 200) return { kind: 'strange', error: `answered ${code}`, latencyMs };
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { kind: 'strange', error: 'did not answer with JSON', latencyMs };
  }
  const parsed = agentStatusSchema.safeParse(body);
  return parsed.success
    ? { kind: 'answered', status: parsed.data, latencyMs }
    : { kind: 'strange', error: 'did not answer as an agent does', latencyMs };
}
