/**
 * Writes answers: JSON, plain text, problems, and the head of those that are streams. Each has the same headers, given to Node at
 * once, and a text in one piece with them: one by one, and as bytes, they take several times as long.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SECURITY_HEADERS } from '../../access/browser';
import { headersOfStatus, type Problem } from '../../contract/errors';
import { JsonText } from '../jsonText';
import { requestIdOf } from './requestId';

/** Name, value, name, value, as writeHead takes them. */
type HeaderList = string[];

const SAME_ALWAYS: HeaderList = Object.entries({ ...SECURITY_HEADERS, 'Cache-Control': 'no-store' }).flat();

export function sendJson(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) {
  const content = body instanceof JsonText ? body.content : JSON.stringify(body);
  send(res, status, content, 'application/json; charset=utf-8', headers);
}

export function sendText(res: ServerResponse, status: number, text: string, media = 'text/plain'): void {
  send(res, status, text, `${media}; charset=utf-8`, {});
}

export function sendProblem(res: ServerResponse, problem: Problem): void {
  const { status } = problem;
  send(res, status, JSON.stringify(problem), 'application/problem+json; charset=utf-8', headersOfStatus(status));
}

export function sendNothing(res: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  writeHead(res, status, [], headers);
  res.end();
}

/** What is streamed follows. */
export function beginStream(res: ServerResponse, status: number, headers: Record<string, string>): void {
  writeHead(res, status, [], headers);
}

/** node:http leaves the content out by itself where the method is HEAD. */
function send(
  res: ServerResponse,
  status: number,
  content: string | Buffer,
  media: string,
  headers: Record<string, string>,
): void {
  writeHead(res, status, ['Content-Type', media, 'Content-Length', String(Buffer.byteLength(content))], headers);
  res.end(content);
}

function writeHead(res: ServerResponse, status: number, list: HeaderList, more: Record<string, string>): void {
  list.push('X-Request-Id', requestIdOf(res.req as IncomingMessage), ...SAME_ALWAYS);
  for (const name in more) list.push(name, more[name]!);
  res.writeHead(status, list);
}
