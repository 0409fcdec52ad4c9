'use strict';
/**
 * One connection to a simulated agent: HTTP/1.1 requests, and WebSocket messages once it is upgraded. Only what a scheduler
 * says is understood: bodies have a Content-Length. By hand, because the probes of 5,000 agents are 1,700 connections a second,
 * of which Node's own server would take half a core.
 */
const { STATUS_CODES } = require('node:http');
const { acceptOf, decode, encodeClose, encodePing, encodePong, encodeTexts, OPCODE } = require('./frames.cjs');

const HEAD_END = '\r\n\r\n';
const HEAD_BYTES = 16 * 1024;
const KEEP_ALIVE = 'Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n';
const NO_BYTES = Buffer.alloc(0);

class Connection {
  /** As they came, until they make up what is waited for. */
  #chunks = [];
  #have = 0;
  #need = 0;
  #head = null;
  #isUpgraded = false;
  /** The client wants no more after the answer. */
  #isLast = false;
  #isEnding = false;
  #isDoomed = false;
  /** What was said while nothing left the agent; null: it leaves at once. */
  #held = null;

  /**
   * @param agent its `serve(request, connection)` is called for each request: { method, path, query, headers, body }; then
   *   `hear(text, connection)` for each message, and `closed(connection)` at the end
   */
  constructor(socket, agent) {
    this.socket = socket;
    this.agent = agent;
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => agent.closed(this));
  }

  // ---- what the agent says

  /** @param body a text, of JSON unless the type says otherwise */
  answer(status, body, type = 'application/json; charset=utf-8') {
    const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
    this.#send(`${head}${this.#isLast ? 'Connection: close\r\n' : KEEP_ALIVE}\r\n${body}`);
    if (this.#isLast) this.#end();
  }

  /** From here on it is a WebSocket. */
  upgrade(key) {
    this.#isUpgraded = true;
    this.socket.setNoDelay(true);
    this.#send(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    );
  }

  tell(texts) {
    this.#send(encodeTexts(texts));
  }

  ping() {
    this.#send(encodePing());
  }

  close(code, reason) {
    this.#send(encodeClose(code, reason));
    this.#end();
  }

  // ---- faults

  /** Nothing comes in and nothing leaves. */
  hold() {
    this.#held ??= [];
    this.socket.pause();
  }

  /** What was said, and what has come, goes on its way. */
  release() {
    if (this.#isDoomed) return this.socket.destroy();
    const held = this.#held ?? [];
    this.#held = null;
    for (const bytes of held) this.#send(bytes);
    if (this.#isEnding) this.#end();
    this.socket.resume();
  }

  /** While nothing leaves, its peer does not learn of it. */
  destroy() {
    if (this.#held === null) this.socket.destroy();
    else this.#isDoomed = true;
  }

  #send(bytes) {
    if (this.#held !== null) this.#held.push(bytes);
    else if (this.socket.writable) this.socket.write(bytes);
  }

  #end() {
    this.#isEnding = true;
    if (this.#held === null) this.socket.end();
  }

  // ---- what comes

  #take(chunk) {
    this.#chunks.push(chunk);
    this.#have += chunk.length;
    try {
      while (this.#have > 0 && this.#have >= this.#need && !this.#isEnding) {
        const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks, this.#have);
        const used = this.#isUpgraded ? this.#takeFrame(bytes) : this.#takeRequest(bytes);
        this.#chunks = used === bytes.length ? [] : [used === 0 ? bytes : bytes.subarray(used)];
        this.#have = bytes.length - used;
        if (used === 0) return;
      }
    } catch (error) {
      this.agent.misunderstood(error);
      this.destroy();
    }
  }

  /** @returns how many bytes it took; `need` says how many there must be before it is worth to look again */
  #takeRequest(bytes) {
    if (this.#head === null) {
      const end = bytes.indexOf(HEAD_END);
      if (end === -1) {
        if (bytes.length > HEAD_BYTES) throw new Error('a request without an end of its head');
        return 0;
      }
      this.#head = { ...parseHead(bytes.latin1Slice(0, end)), bodyAt: end + HEAD_END.length };
      this.#need = this.#head.bodyAt + this.#head.bodyLength;
      if (bytes.length < this.#need) return 0;
    }
    const used = this.#need;
    const { bodyAt, ...request } = this.#head;
    const body = request.bodyLength === 0 ? NO_BYTES : bytes.subarray(bodyAt, used);
    this.#head = null;
    this.#need = 0;
    this.#isLast = request.headers.get('connection') === 'close';
    this.agent.serve({ ...request, body }, this);
    return used;
  }

  #takeFrame(bytes) {
    const frame = decode(bytes);
    if (frame === null) return 0;
    if (frame.opcode === OPCODE.text) this.agent.hear(frame.payload.toString(), this);
    else if (frame.opcode === OPCODE.ping) this.#send(encodePong(frame.payload));
    else if (frame.opcode === OPCODE.close) this.close(1000, '');
    else this.agent.heardPong(this);
    return frame.length;
  }
}

/** @throws Error for what no client of ours sends */
function parseHead(text) {
  const lines = text.split('\r\n');
  const [method, target] = lines[0].split(' ');
  const headers = new Map();
  for (let at = 1; at < lines.length; at += 1) {
    const colon = lines[at].indexOf(':');
    headers.set(lines[at].slice(0, colon).toLowerCase(), lines[at].slice(colon + 1).trim());
  }
  if (headers.has('transfer-encoding')) throw new Error('a body without a Content-Length');
  const [path, query = ''] = target.split('?');
  const bodyLength = Number(headers.get('content-length') ?? 0);
  return { method, path, query, headers, bodyLength };
}

module.exports = { Connection };
