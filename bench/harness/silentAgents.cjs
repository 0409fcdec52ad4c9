'use strict';
/**
 * Stands for the agents of a whole fleet at one port: takes every connection and says nothing. In a process of its own, so that
 * thousands of connections do not hold up who measures.
 */
const { fork } = require('node:child_process');
const net = require('node:net');
const { onEnd } = require('./program.cjs');

if (require.main === module) {
  const server = net.createServer((socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
  process.on('disconnect', () => process.exit());
}

/** @returns { port, end() } */
async function startSilentAgents() {
  const child = fork(__filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const { port } = await new Promise((resolve) => child.once('message', resolve));
  return {
    port,
    end() {
      child.kill('SIGKILL');
      done();
    },
  };
}

module.exports = { startSilentAgents };
