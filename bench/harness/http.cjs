'use strict';
/** A small HTTP client with kept connections; less work per request than fetch, which matters where it polls. */
const { readFileSync } = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { WebSocket } = require('ws');

/** Less than a server lets a connection rest: it would be closed under a request. */
const RESTS_AT_MOST_MS = 20_000;

class HttpClient {
  #agent = null;
  /** Sent with every request from when it is known. */
  token = null;

  /**
   * @param port on loopback
   * @param caFile who has signed the certificate of a server that speaks TLS; it is there once that serves. null: plain HTTP
   */
  constructor(port, caFile = null) {
    this.port = port;
    this.caFile = caFile;
  }

  /**
   * @returns { status, body } with the body parsed
   * @throws Error with the `code` of the system when the connection fails or nothing comes for `timeoutMs`
   */
  async request(method, path, body, { headers = {}, timeoutMs = 15_000 } = {}) {
    const sent = { method, path, text: body === undefined ? undefined : JSON.stringify(body), headers, timeoutMs };
    try {
      return await this.#once(sent);
    } catch (error) {
      // The server had closed the kept connection at that moment; what does the same when done twice can be asked a second time.
      if (method === 'POST' || !error.reusedSocket) throw error;
      return this.#once(sent);
    }
  }

  async #once({ method, path, text, headers, timeoutMs }) {
    const withBody =
      text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const { request: ask, Agent } = this.caFile === null ? http : https;
    const trust = () => (this.caFile === null ? {} : { ca: readFileSync(this.caFile) });
    this.#agent ??= new Agent({ keepAlive: true, timeout: RESTS_AT_MOST_MS, noDelay: true, ...trust() });
    return new Promise((resolve, reject) => {
      const request = ask(
        {
          host: '127.0.0.1',
          port: this.port,
          agent: this.#agent,
          method,
          path,
          headers: { ...withBody, ...authorization(this.token), ...headers },
        },
        (response) => {
          const chunks = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode, body: parse(response, Buffer.concat(chunks)) }),
          );
        },
      );
      request.on('error', (error) => reject(Object.assign(error, { reusedSocket: request.reusedSocket })));
      request.setTimeout(timeoutMs, () =>
        request.destroy(new Error(`${method} ${path}: no answer for ${timeoutMs} ms`)),
      );
      request.end(text);
    });
  }

  close() {
    this.#agent?.destroy();
  }
}

const authorization = (token) => (token === null ? {} : { authorization: `Bearer ${token}` });

function parse(response, bytes) {
  const text = bytes.toString();
  return /json/.test(response.headers['content-type'] ?? '') && text !== '' ? JSON.parse(text) : text;
}

/** Collects the events of the scheduler (a Part) from now on, until closed or the connection ends. `list` grows as they come. */
async function openEvents({ port, token }) {
  const list = [];
  const request = http.get({ host: '127.0.0.1', port, path: '/events', agent: false, headers: authorization(token) });
  request.on('error', () => {}); // the scheduler's end, or `close`
  const response = await new Promise((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  response.on('error', () => {});
  let rest = '';
  response.setEncoding('utf8').on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data:')) list.push(JSON.parse(line.slice(5)));
  });
  return { list, close: () => request.destroy() };
}

/** Bytes of an answer of a Part, as they come, to `take`. @returns how many; @throws Error when it is not 200 or breaks off */
async function download({ port, token }, route, take) {
  const request = http.get({ host: '127.0.0.1', port, path: route, agent: false, headers: authorization(token) });
  const response = await new Promise((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  if (response.statusCode !== 200) throw new Error(`GET ${route} answered ${response.statusCode}`);
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    take(chunk);
  }
  return bytes;
}

/** Messages of the WebSocket of an agent (a Part), the inventory first, to `take`. @returns what closes it; @throws Error when it does not open */
async function openMessages({ port, token }, take) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/events`, { headers: authorization(token) });
  socket.on('message', (data) => take(JSON.parse(data.toString())));
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => {}); // the agent's end
  return () => socket.terminate();
}

module.exports = { download, HttpClient, openEvents, openMessages };
