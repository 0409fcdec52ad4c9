/** Writes the answers that are not streams: JSON, plain text, and problems. */
import type { ServerResponse } from 'node:http';
import { headersOfStatus, type Problem } from '../../contract/errors';

export function sendJson(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) {
  send(res, status, JSON.stringify(body), { 'Content-Type': 'application/json; charset=utf-8', ...headers });
}

export function sendText(res: ServerResponse, status: number, text: string, media = 'text/plain'): void {
  send(res, status, text, { 'Content-Type': `${media}; charset=utf-8` });
}

export function sendProblem(res: ServerResponse, problem: Problem): void {
  const headers = { 'Content-Type': 'application/problem+json; charset=utf-8', ...headersOfStatus(problem.status) };
  send(res, problem.status, JSON.stringify(problem), headers);
}

export function sendNothing(res: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  res.writeHead(status, headers);
  res.end();
}

/** node:http leaves the bytes out by itself where the method is HEAD. */
function send(res: ServerResponse, status: number, text: string, headers: Record<string, string>): void {
  const bytes = Buffer.from(text);
  res.writeHead(status, { 'Content-Length': String(bytes.length), 'Cache-Control': 'no-store', ...headers });
  res.end(bytes);
}
