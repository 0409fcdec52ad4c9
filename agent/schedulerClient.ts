/** Calls from the agent to its scheduler, over plain HTTP or TLS. */
import { Agent, request } from 'undici';
import { type Problem, problemSchema } from '../contract/errors';
import { connectorOf } from '../pki/connector';
import type { ConnectionTls } from '../pki/settings';

const CONNECT_MS = 5_000;

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
  readonly #dispatcher: Agent;

  /**
   * @param url without a slash at its end
   * @param tls asked for each connection; null: plain HTTP
   */
  constructor(
    readonly url: string,
    tls: (() => ConnectionTls) | null,
  ) {
    this.#dispatcher = new Agent({ connect: connectorOf(tls, CONNECT_MS) });
  }

  /** @throws Error of the system or of TLS when there is no answer */
  async ask(method: 'GET' | 'POST', path: string, { token, body, signal }: Question): Promise<Answer> {
    const answer = await request(this.url + path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal,
      dispatcher: this.#dispatcher,
      // It is asked seldom, and the certificates may be others the next time.
      reset: true,
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: parsed(text) };
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
