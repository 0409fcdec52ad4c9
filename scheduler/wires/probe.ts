/**
 * A probe: GET /status. Of all that a scheduler does this is done most, of each node every few seconds, so it is written to the
 * socket as it is: a request of Node's client takes three times as long.
 */
import net from 'node:net';
import { performance } from 'node:perf_hooks';
import tls from 'node:tls';
import { type AgentStatus, agentStatusSchema } from '../../contract/agentApi';
import type { SystemFailure } from '../../contract/errors';
import { type AgentAddress, isSameAddress, urlHost } from '../agentClient';
import { connectionOf } from '../tls/nodeConnection';

/** More is no status. */
const ANSWER_BYTES = 1024 ** 2;
/** Then an agent is asked over a new one: whether it takes any is a part of what is asked. */
const KEPT_MS = 30_000;
const HEAD_END = '\r\n\r\n';

export type ProbeResult =
  | { kind: 'answered'; status: AgentStatus; latencyMs: number }
  /** Nobody listens there, the connection was reset, there is no way to the host, or none can be begun. */
  | { kind: 'refused'; error: string; system: SystemFailure | undefined; latencyMs: number }
  | { kind: 'timedOut'; error: string; latencyMs: number }
  /** It answered, but not as an agent does. `needsToken`: it does not take the one that is known, if one is. */
  | { kind: 'strange'; error: string; needsToken?: boolean; latencyMs: number };

/** Asks one agent again and again, over a connection that is kept for a while: opening one is most of what a probe costs. */
export class Prober {
  private kept: Connection | null = null;
  private closed = false;

  /**
   * Never rejects. An agent may have ended a kept connection at the same moment: it is asked once more then, over one of its own.
   *
   * @param overKept false: on a fresh connection, which says more of an agent that may be gone
   */
  async probe(address: AgentAddress, timeoutMs: number, overKept: boolean): Promise<ProbeResult> {
    const startedAtMs = performance.now();
    const { kept } = this;
    if (overKept && kept?.isIdle === true && isSameAddress(kept.address, address)) {
      const result = await kept.ask(address, timeoutMs, performance.now() - kept.openedAtMs < KEPT_MS);
      const leftMs = timeoutMs - (performance.now() - startedAtMs);
      if (result.kind !== 'refused' || this.closed || leftMs < 1) return result;
      return this.probe(address, leftMs, false);
    }
    let fresh: Connection;
    try {
      fresh = new Connection(address);
    } catch (error) {
      return { kind: 'refused', error: (error as Error).message, system: undefined, latencyMs: 0 };
    }
    const result = await fresh.ask(address, timeoutMs, true);
    if (!fresh.isIdle || this.closed) {
      fresh.end();
      return result;
    }
    this.kept?.end();
    this.kept = fresh;
    return result;
  }

  close(): void {
    this.closed = true;
    this.kept?.end();
  }
}

/** One request at a time. */
class Connection {
  readonly openedAtMs = performance.now();
  private readonly socket: net.Socket;
  private received: Buffer | null = null;
  /** Takes the answer that is awaited. */
  private settle: ((result: ProbeResult) => void) | null = null;
  private timer: NodeJS.Timeout | undefined;
  private askedAtMs = 0;
  private keep = true;
  private usable = true;

  constructor(readonly address: AgentAddress) {
    this.socket = connectTo(address);
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error: NodeJS.ErrnoException) => this.fail(error.message, systemFailureOf(error)));
    this.socket.on('close', () => {
      clearTimeout(this.timer);
      this.fail('socket hang up', undefined);
    });
  }

  /** It can be asked. */
  get isIdle(): boolean {
    return this.usable && this.settle === null;
  }

  /** @param keep false: the agent is to end it after its answer */
  ask(address: AgentAddress, timeoutMs: number, keep: boolean): Promise<ProbeResult> {
    this.askedAtMs = performance.now();
    this.keep = keep;
    // One that is not kept has no more time to end than it has to answer.
    this.timer = setTimeout(() => {
      this.answer({ kind: 'timedOut', error: `no answer within ${timeoutMs} ms`, latencyMs: this.latencyMs() });
      this.end();
    }, timeoutMs);
    return new Promise((resolve) => {
      this.settle = resolve;
      this.socket.write(requestTo(address, keep));
    });
  }

  end(): void {
    this.usable = false;
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    if (this.settle === null) {
      // The rest of an answer of which nothing more is wanted; or nobody has asked.
      if (this.keep) this.end();
      return;
    }
    this.received = this.received === null ? chunk : Buffer.concat([this.received, chunk]);
    const answer = this.received.length > ANSWER_BYTES ? NO_ANSWER : answerIn(this.received);
    if (answer === null) return;
    this.received = null;
    if (!this.keep) this.usable = false;
    else if (answer.isLast) this.end();
    else clearTimeout(this.timer);
    this.answer(readStatus(answer.status, answer.text, this.latencyMs()));
  }

  private fail(error: string, system: SystemFailure | undefined): void {
    this.usable = false;
    this.answer({ kind: 'refused', error, system, latencyMs: this.latencyMs() });
  }

  private answer(result: ProbeResult): void {
    const { settle } = this;
    this.settle = null;
    settle?.(result);
  }

  private latencyMs(): number {
    return Math.round((performance.now() - this.askedAtMs) * 10) / 10;
  }
}

function connectTo({ host, port, tls: secured }: AgentAddress): net.Socket {
  if (secured === undefined) return net.connect({ host, port, noDelay: true });
  const begun = secured.connection();
  const socket = tls.connect({ host, port, ...connectionOf(begun) });
  return socket.on('session', (session) => secured.keepSession(session, begun));
}

function requestTo(address: AgentAddress, keep: boolean): string {
  const credentials = address.token === undefined ? '' : `Authorization: Bearer ${address.token}\r\n`;
  return `GET /status?processes=false HTTP/1.1\r\nHost: ${urlHost(address)}\r\n${keep ? '' : 'Connection: close\r\n'}${credentials}\r\n`;
}

interface Answer {
  status: number;
  text: string;
  /** Nothing more is to be asked on this connection. */
  isLast: boolean;
}

const NO_ANSWER: Answer = { status: 0, text: '', isLast: true };

/** @returns null while it is not there in full; status 0: it is none of HTTP, or not in the form in which agents answer */
function answerIn(bytes: Buffer): Answer | null {
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return null;
  const head = bytes.toString('latin1', 0, end);
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
  if (status === undefined) return NO_ANSWER;
  // Only of what agents answer with is more than the status of interest.
  if (status !== '200') return { status: Number(status), text: '', isLast: true };
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) return NO_ANSWER;
  const from = end + HEAD_END.length;
  if (bytes.length < from + length) return null;
  return {
    status: 200,
    text: bytes.toString('utf8', from, from + length),
    isLast: /\r\nconnection: *close/i.test(head),
  };
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
