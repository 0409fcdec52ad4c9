'use strict';
/** Makes the simulated agents of a process known to their scheduler, many at a time; tries until it has taken each in. */
const http = require('node:http');

const LANES = 32;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 3_000;
const ANSWER_WITHIN_MS = 15_000;

class Registration {
  #queue = [];
  #queued = new Set();
  #busy = 0;
  #kept = new http.Agent({ keepAlive: true, maxSockets: LANES });

  /** @param scheduler { port, joinToken } on loopback */
  constructor(scheduler, wheel) {
    this.scheduler = scheduler;
    this.wheel = wheel;
  }

  /** Does nothing for one that is on its way already. */
  add(agent) {
    if (this.#queued.has(agent)) return;
    this.#queued.add(agent);
    this.#queue.push({ agent, retryMs: FIRST_RETRY_MS });
    this.#run();
  }

  #run() {
    while (this.#busy < LANES && this.#queue.length > 0) {
      this.#busy += 1;
      void this.#registerOne(this.#queue.shift());
    }
  }

  async #registerOne(entry) {
    const { agent, retryMs } = entry;
    const isDone = agent.fault !== null || (await this.#register(agent).catch(() => false));
    this.#busy -= 1;
    if (isDone) this.#queued.delete(agent);
    else {
      entry.retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
      this.wheel.after(retryMs, () => {
        this.#queue.push(entry);
        this.#run();
      });
    }
    this.#run();
  }

  /** @returns whether it was taken in */
  async #register(agent) {
    const health = await this.#health(agent);
    if (health === null) return false;
    const { member } = agent;
    const takesOver = health.takesOver === true && member.clusterId !== null;
    if (!takesOver) member.joining = health.clusterId;
    try {
      const isKnown = member.clusterId === health.clusterId;
      let answer = await this.#ask(
        'POST',
        '/nodes',
        agent.registration,
        isKnown ? agent.token : this.scheduler.joinToken,
      );
      if (isKnown && answer.status === 401)
        answer = await this.#ask('POST', '/nodes', agent.registration, this.scheduler.joinToken);
      if (answer.status >= 300) {
        process.stderr.write(`${agent.name} is not let in: ${answer.status} ${JSON.stringify(answer.body)}\n`);
        return false;
      }
      const joined = takesOver ? await this.#health(agent) : health;
      if (joined === null) return false;
      member.join(joined.clusterId, joined.epoch);
      return true;
    } finally {
      member.joining = null;
    }
  }

  /** @returns null: it does not tell now, perhaps because too many ask */
  async #health({ name }) {
    const { status, body } = await this.#ask('GET', '/health');
    if (status === 200) return body;
    if (status !== 429) process.stderr.write(`${name} is not told of the cluster: ${status} ${JSON.stringify(body)}\n`);
    return null;
  }

  #ask(method, path, body, token) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    const { port } = this.scheduler;
    return new Promise((resolve, reject) => {
      const request = http.request(
        { host: '127.0.0.1', port, method, path, headers, agent: this.#kept },
        (response) => {
          const chunks = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            resolve({ status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) });
          });
        },
      );
      request.on('error', reject);
      request.setTimeout(ANSWER_WITHIN_MS, () => request.destroy(new Error('no answer')));
      request.end(text);
    });
  }
}

module.exports = { Registration };
