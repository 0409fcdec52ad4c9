/** A client of the scheduler that takes failures for what they are: it says what was acknowledged, and asks again for what was not. */
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { MorchEvent } from '../../contract/events';

const RETRY_MS = 100;

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked at as a stranger would
  body: any;
}

export interface Ask {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  timeoutMs?: number;
}

/** On a connection of its own. @throws Error when there is no whole answer in time */
export function ask(url: string, { method = 'GET', body, headers = {}, timeoutMs = 5_000 }: Ask = {}): Promise<Answer> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = http.request(url, {
      method,
      agent: false,
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        connection: 'close',
        ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
    });
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('error', reject);
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = response.headers['content-type']?.includes('json') ?? false;
        if (!response.complete) reject(new Error('the answer was cut short'));
        else resolve({ status: response.statusCode!, body: isJson && text !== '' ? JSON.parse(text) : text });
      });
    });
    request.end(payload);
  });
}

/**
 * Asks again and again until there is one of the wanted answers. Failures to answer and answers that say "not now" (429, 5xx)
 * are passed over.
 * @throws Error for any other answer, or after `withinMs`
 */
export async function insist(url: string, wanted: readonly number[], request: Ask, withinMs: number): Promise<Answer> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    let what: string;
    try {
      const answer = await ask(url, request);
      if (wanted.includes(answer.status)) return answer;
      what = `${answer.status} ${JSON.stringify(answer.body)}`;
      if (answer.status !== 429 && answer.status < 500) throw new Error(`${request.method} ${url}: ${what}`);
    } catch (error) {
      if (!isNoAnswer(error)) throw error;
      what = String(error);
    }
    if (performance.now() > deadlineMs) throw new Error(`${request.method} ${url}: ${what}, for ${withinMs} ms`);
    await delay(RETRY_MS);
  }
}

function isNoAnswer(error: unknown): boolean {
  const { code, name, message } = error as NodeJS.ErrnoException;
  return (
    code !== undefined || name === 'TimeoutError' || name === 'AbortError' || message === 'the answer was cut short'
  );
}

/** Tells of every event from the first that is kept on, once, over restarts of the scheduler, until it is told to end. */
export async function followEvents(
  url: string,
  headers: () => Record<string, string>,
  onEvent: (event: MorchEvent) => void,
  end: AbortSignal,
): Promise<void> {
  let since = 0;
  /** Records that were restored tell once more what they told before. */
  const told = new Set<string>();
  while (!end.aborted) {
    const status = await new Promise<number>((resolve) => {
      const request = http.get(`${url}/events?since=${since}`, { agent: false, signal: end, headers: headers() });
      request.on('error', () => resolve(0));
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('error', () => resolve(0));
        response.on('end', () => resolve(response.statusCode!));
        response.on('data', (chunk: string) => {
          if (response.statusCode !== 200) return;
          const lines = (text + chunk).split('\n');
          text = lines.pop()!;
          for (const line of lines.filter((one) => one.startsWith('data: '))) {
            const event = JSON.parse(line.slice('data: '.length)) as MorchEvent;
            since = event.seq;
            const name = `${event.seq} ${event.at}`;
            if (!told.has(name)) onEvent(event);
            told.add(name);
          }
        });
      });
    });
    // A store that was restored, or is new, does not know of so many.
    if (status === 400 || status === 410) since = 0;
    await delay(RETRY_MS);
  }
}
