/** Error answers: `application/problem+json` for every request, malformed ones included. */
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { SECURITY_HEADERS } from '../../access/browser';
import { headersOfStatus, type Problem, problemOf } from '../../contract/errors';

const MEDIA_TYPE = 'application/problem+json; charset=utf-8';

export function sendProblem(response: ServerResponse, error: unknown, requestId: string): void {
  const problem = problemOf(error, requestId);
  const body = JSON.stringify(problem);
  const headers = { 'Content-Type': MEDIA_TYPE, 'Content-Length': Buffer.byteLength(body) };
  response.writeHead(problem.status, { ...headers, ...headersOfStatus(problem.status) });
  response.end(body);
}

/** For a connection that has no ServerResponse: a malformed request, a refused upgrade. */
export function endWithProblem(socket: Duplex, error: unknown, headers: Record<string, string> = {}): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const problem: Problem = problemOf(error);
  const body = JSON.stringify(problem);
  const lines = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `Content-Type: ${MEDIA_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...Object.entries({ ...SECURITY_HEADERS, ...headersOfStatus(problem.status), ...headers }).map(
      ([name, value]) => `${name}: ${value}`,
    ),
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
}
