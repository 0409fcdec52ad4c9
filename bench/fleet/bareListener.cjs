'use strict';
/**
 * The control of bench/fleet.cjs, a process of its own: hears the heartbeats of all agents, reads and acknowledges each, asks
 * each agent for its status every 3 s over a connection that is kept, as a scheduler does, and makes nothing of it. Forked; it is told
 * { agents: [{ host, port, token }] }, and says { heard } when all have sent their inventory.
 */
const http = require('node:http');
const { WebSocket } = require('ws');

const PROBE_MS = 3_000;
const kept = new http.Agent({ keepAlive: true });
const CONNECTING_AT_ONCE = 100;

process.once('message', async ({ agents }) => {
  const queue = agents.map((agent, at) => ({ ...agent, at }));
  const lane = async () => {
    for (let agent = queue.shift(); agent !== undefined; agent = queue.shift()) {
      await listen(agent);
      setTimeout(
        () => {
          probe(agent);
          setInterval(() => probe(agent), PROBE_MS);
        },
        (agent.at / agents.length) * PROBE_MS,
      );
    }
  };
  await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, lane));
  process.send({ heard: agents.length });
});
process.on('disconnect', () => process.exit(0));

/** Resolves at the inventory. */
function listen({ host, port, token }) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    const socket = new WebSocket(`ws://${host}:${port}/events`, { headers, perMessageDeflate: false });
    socket.once('error', reject);
    socket.on('message', (data) => {
      const { type, n } = JSON.parse(String(data));
      if (type === 'hello') resolve();
      else socket.send(JSON.stringify({ type: 'ack', n, mark: 1 }));
    });
  });
}

function probe({ host, port, token }) {
  const headers = { authorization: `Bearer ${token}` };
  const request = http.get({ host, port, path: '/status?processes=false', agent: kept, headers }, (response) => {
    const chunks = [];
    response.on('data', (chunk) => chunks.push(chunk));
    response.on('end', () => JSON.parse(Buffer.concat(chunks).toString()));
  });
  request.on('error', (error) => {
    throw error;
  });
}
