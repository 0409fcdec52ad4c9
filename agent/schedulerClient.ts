/** Calls from the agent to its scheduler, over plain HTTP or TLS, with what Node has of its own: it is asked seldom, and to load less keeps agents small. */
import { type IncomingMessage, type RequestOptions, request as requestPlainly } from 'node:http';
import { request as requestOverTls } from 'node:https';
import { type Problem, problemSchema } from '../contract/errors';
import type { ConnectionTls } from '../pki/settings';

export interface Answer {
  status: number;
  /** Parsed where it is JSON, else text. */
  body: unknown;
}

export interface Question {
  token?: string | undefined;
  body?: object;
  signal: AbortSignal;
}

export class SchedulerClient {
  /**
   * @param url without a slash at its end
   * @param tls asked for each connection; null: plain HTTP
   */
  constructor(
    readonly url: string,
    private readonly tls: (() => ConnectionTls) | null,
  ) {}

  /** @throws Error of the system or of TLS when there is no answer; what the signal was aborted with */
  async ask(method: 'GET' | 'POST', path: string, { token, body, signal }: Question): Promise<Answer> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    };
    try {
      // A connection of its own: the certificates may be others the next time.
      const message = await this.#request(path, { method, headers, signal, agent: false }, text);
      message.setEncoding('utf8');
      let answer = '';
      for await (const part of message) answer += part;
      return { status: message.statusCode!, body: parsed(answer) };
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  #request(path: string, options: RequestOptions, text: string | undefined): Promise<IncomingMessage> {
    const url = this.url + path;
    return new Promise((resolve, reject) => {
      const request =
        this.tls === null
          ? requestPlainly(url, options, resolve)
          : requestOverTls(url, { ...options, ...this.tls() }, resolve);
      request.once('error', reject);
      request.end(text);
    });
  }
}

export function problemIn({ body }: Answer): Problem | undefined {
  return problemSchema.safeParse(body).data;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
