/**
 * The scheduler's HTTP API as the verbs call it. Problem answers become MorchErrors; a scheduler that cannot be
 * reached becomes SCHEDULER_UNREACHABLE, with the address and what to do. Answers are not checked against the
 * schemas: fields added by a newer scheduler must pass through to `-o json`.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Agent, Dispatcher } from 'undici';
import { errorOfProblem, MorchError, problemSchema } from '../contract/errors';
import type { Workload, WorkloadInput } from '../contract/workload';
import { connectorOf } from '../pki/connector';
import { isUntrusted } from '../pki/trust';
import { type Address, type Credential, chooseTarget, type Target, type TargetFlags } from './context';
import { connectionTo } from './trust';

/** Loaded when something is asked: it takes as long as all else, and a scheduler or an agent asks nothing this way. */
const undici = () => require('undici') as typeof import('undici');

const CONNECT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 30_000;
/** How long a submit whose answer was lost is repeated; long enough for a scheduler to be restarted. */
const RESUBMIT_FOR_MS = 10_000;

/** How often a call waits that came when there were too many: it was not looked at. */
const WAITS_FOR_ROOM = 10;

/** Failures before the request can have reached anybody. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);

const REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the host name cannot be looked up',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ETIMEDOUT: 'no answer to the connection',
  UND_ERR_CONNECT_TIMEOUT: 'no answer to the connection',
  UND_ERR_HEADERS_TIMEOUT: `no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`,
  UND_ERR_BODY_TIMEOUT: `no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`,
  UND_ERR_SOCKET: 'the connection was closed before the answer',
  ECONNRESET: 'the connection was closed before the answer',
  EPIPE: 'the connection was closed before the answer',
};

const REACH_HINT = 'Start one with `morch dev` or `morch scheduler`, or name another with --address or MORCH_ADDRESS.';
const UNTRUSTED_HINT =
  'Name who has signed its certificate with --ca-file or MORCH_CACERT: for a certificate of its own that is pki/ca.crt in its data directory.';
const TRY_TLS = { 'http:': 'If it speaks TLS, its address begins with https://.' };
const TRY_PLAIN = { 'https:': 'It does not seem to speak TLS: if so, its address begins with http://.' };
/** By the code of the failure, then the scheme of the address. */
const SCHEME_HINTS: Record<string, Record<string, string>> = {
  UND_ERR_SOCKET: TRY_TLS,
  ECONNRESET: TRY_TLS,
  EPROTO: TRY_PLAIN,
  ERR_SSL_WRONG_VERSION_NUMBER: TRY_PLAIN,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: TRY_PLAIN,
};

export type Query = Record<string, string | number | boolean | undefined>;

export interface StreamAnswer {
  header(name: string): string | undefined;
  /** Once the body has been read to its end. */
  trailer(name: string): string | undefined;
  body: AsyncIterable<Buffer>;
}

interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  query?: Query | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  endless?: boolean;
}

/** The client for the scheduler that a verb was given or finds. */
export function clientOf(command: Command): Client {
  return new Client(chooseTarget(command.optsWithGlobals<TargetFlags>()));
}

export class Client {
  readonly address: Address;
  /** The first is the one in use: those before it were refused. */
  private readonly credentials: Credential[];
  private readonly dispatcher: Agent;

  constructor({ address, credentials, authorities }: Target) {
    this.address = address;
    const tls = address.url.startsWith('https:') ? connectionTo(authorities) : null;
    this.dispatcher = new (undici().Agent)({
      connect: connectorOf(tls === null ? null : () => tls, CONNECT_TIMEOUT_MS),
    });
    this.credentials = [...credentials];
  }

  get<T>(path: string, query?: Query): Promise<T> {
    return this.json<T>({ method: 'GET', path, query });
  }

  post<T>(path: string, body?: unknown): Promise<T> {
    return this.json<T>({ method: 'POST', path, body });
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this.json<T>({ method: 'PUT', path, body });
  }

  delete<T>(path: string, query?: Query): Promise<T> {
    return this.json<T>({ method: 'DELETE', path, query });
  }

  /** All of a list, following `nextCursor` to its end. `key` is the list's field in the answer. */
  async list<T>(path: string, key: string, query: Query = {}): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.get<Record<string, unknown>>(path, { limit: 1_000, ...query, cursor });
      items.push(...((page[key] as T[] | undefined) ?? []));
      cursor = (page.nextCursor as string | null) ?? undefined;
    } while (cursor !== undefined);
    return items;
  }

  /** Submits once, also when the answer is lost on the way: the same Idempotency-Key gives the same answer. */
  async submit(spec: WorkloadInput, onRetry: (error: MorchError) => void): Promise<Workload> {
    const headers = { 'idempotency-key': randomUUID() };
    const endAtMs = Date.now() + RESUBMIT_FOR_MS;
    let mayBeAccepted = false;
    for (let delayMs = 200; ; delayMs *= 2) {
      try {
        return await this.json<Workload>({ method: 'POST', path: '/workloads', body: spec, headers });
      } catch (error) {
        if (!isUnreachable(error)) throw error;
        mayBeAccepted ||= !NOT_SENT.has(failureCode(error.cause));
        if (!mayBeAccepted) throw error;
        if (Date.now() + delayMs > endAtMs) {
          throw new MorchError(
            'SCHEDULER_UNREACHABLE',
            `${error.message}\nThe workload may have been accepted: look with \`morch workloads\` before submitting it again.`,
            { cause: error },
          );
        }
        onRetry(error);
        await sleep(delayMs);
      }
    }
  }

  /** An answer of bytes, told as it arrives; with `endless` the server may be silent for any time. */
  async stream(path: string, query: Query, headers: Record<string, string> = {}): Promise<StreamAnswer> {
    const answer = await this.call({ method: 'GET', path, query, headers, endless: true });
    const textOf = (value: string | string[] | undefined) => (Array.isArray(value) ? value.join(', ') : value);
    return {
      header: (name) => textOf(answer.headers[name]),
      trailer: (name) => textOf(answer.trailers[name]),
      body: this.chunks(answer.body),
    };
  }

  private async *chunks(body: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    try {
      yield* body;
    } catch (error) {
      throw this.unreachable(error);
    }
  }

  private async json<T>(call: Call): Promise<T> {
    const answer = await this.call(call);
    const text = await this.text(answer);
    if (text === '') return undefined as T;
    const value = parseJson(text);
    if (value === undefined) throw this.notAScheduler(`its answer to ${call.method} ${call.path} is not JSON`);
    return value as T;
  }

  /** @returns a successful answer, its body unread */
  private async call(call: Call, waits = WAITS_FOR_ROOM): Promise<Dispatcher.ResponseData> {
    const credential = this.credentials[0];
    const answer = await this.send(call, credential);
    if (answer.statusCode === 429 && waits > 0) {
      await answer.body.dump();
      await sleep(1_000 * (Number(answer.headers['retry-after']) || 1));
      return this.call(call, waits - 1);
    }
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    const problem = problemSchema.safeParse(parseJson(await this.text(answer)));
    if (!problem.success) throw this.notAScheduler(`it answered ${answer.statusCode} to ${call.method} ${call.path}`);
    const error = errorOfProblem(problem.data);
    if (error.code !== 'UNAUTHENTICATED') throw error.code === 'FORBIDDEN' ? forbidden(error, credential) : error;
    // Another call may have found that out already.
    if (this.credentials[0] === credential) {
      if (this.credentials.length < 2) throw this.unauthenticated(error, credential);
      this.credentials.shift();
    }
    return this.call(call);
  }

  private async send(call: Call, credential: Credential | undefined): Promise<Dispatcher.ResponseData> {
    try {
      return await undici().request(`${this.address.url}${call.path}${queryText(call.query)}`, {
        method: call.method,
        headers: {
          accept: 'application/json, application/problem+json, text/plain, text/event-stream',
          ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(credential === undefined ? {} : { authorization: `Bearer ${credential.token}` }),
          ...call.headers,
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        headersTimeout: ANSWER_TIMEOUT_MS,
        bodyTimeout: call.endless === true ? 0 : ANSWER_TIMEOUT_MS,
        dispatcher: this.dispatcher,
      });
    } catch (error) {
      throw this.unreachable(error);
    }
  }

  /** Of an answer that tells strangers less. */
  needsToken(): MorchError {
    return this.unauthenticated(new MorchError('UNAUTHENTICATED', 'A token is needed.'), this.credentials[0]);
  }

  private unauthenticated(error: MorchError, credential: Credential | undefined): MorchError {
    const given = credential === undefined ? '' : ` The token was from ${credential.source}.`;
    return new MorchError(
      'UNAUTHENTICATED',
      `${this.address.url} does not let this in: ${error.message}${given}\n` +
        'Give a token with --token-file or MORCH_TOKEN, or in a context (morch context --help). The first one of a scheduler is in admin.token of its data directory; an admin makes others with `morch token create`.',
      { cause: error },
    );
  }

  private async text(answer: Dispatcher.ResponseData): Promise<string> {
    try {
      return await answer.body.text();
    } catch (error) {
      throw this.unreachable(error);
    }
  }

  private unreachable(cause: unknown): MorchError {
    const code = failureCode(cause);
    const why = REASONS[code] ?? (cause instanceof Error && cause.message !== '' ? cause.message : code);
    const { url, source } = this.address;
    const found = source === 'default' || source === '--address' ? '' : `, the address from ${source}`;
    const hint = isUntrusted(code) ? UNTRUSTED_HINT : (SCHEME_HINTS[code]?.[new URL(url).protocol] ?? REACH_HINT);
    const detail = `Cannot reach the scheduler at ${url}${found}: ${why}.\n${hint}`;
    return new MorchError('SCHEDULER_UNREACHABLE', detail, { cause });
  }

  private notAScheduler(why: string): MorchError {
    return new MorchError(
      'INTERNAL',
      `What listens at ${this.address.url} does not seem to be a morch scheduler: ${why}. Check --address.`,
    );
  }
}

function forbidden(error: MorchError, credential: Credential | undefined): MorchError {
  const from = credential === undefined ? '' : ` The token is from ${credential.source}.`;
  const detail = `${error.message}${from}\nUse another one, with --token-file or MORCH_TOKEN; an admin makes them with \`morch token create\`.`;
  return new MorchError('FORBIDDEN', detail, { cause: error });
}

export function isUnreachable(error: unknown): error is MorchError {
  return error instanceof MorchError && error.code === 'SCHEDULER_UNREACHABLE';
}

/** Node's and undici's code for a failed connection; of several addresses tried, that of the first. */
function failureCode(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return failureCode(error.errors[0]);
  if (!(error instanceof Error)) return 'unknown';
  return (error as NodeJS.ErrnoException).code ?? (error.cause === undefined ? error.name : failureCode(error.cause));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function queryText(query: Query = {}): string {
  const given = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, String(value)] as [string, string]],
  );
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
}
