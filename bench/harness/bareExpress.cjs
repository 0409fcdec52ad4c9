'use strict';
/**
 * The control of the HTTP benchmarks: what Express and zod take by themselves for the same requests, in a process of its own. A POST is
 * read by `express.json`, checked by the very schema of the product and answered with what was sent; a GET is answered with bytes
 * that are there. Nothing is kept, nobody is asked who they are. Without ETags, which the product does not make either.
 */
const { fork } = require('node:child_process');
const path = require('node:path');
const { onEnd } = require('./program.cjs');

const ROOT = path.resolve(__dirname, '../..');

if (require.main === module) serve();

function serve() {
  const express = require('express');
  const { workloadInputSchema } = require(path.join(ROOT, 'dist/contract/workload.js'));
  const app = express();
  app.disable('etag');
  app.disable('x-powered-by');
  let prebuilt = Buffer.alloc(0);
  app.post('/workloads', express.json(), (req, res) => {
    const parsed = workloadInputSchema.safeParse(req.body);
    if (parsed.success) res.status(201).json(parsed.data);
    else res.status(400).json(parsed.error.issues);
  });
  app.get('/workloads', (_req, res) => res.type('json').send(prebuilt));
  const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
  process.on('message', ({ body }) => {
    prebuilt = Buffer.from(body);
    process.send({});
  });
  process.on('disconnect', () => process.exit());
}

/** @returns { port, pid, prebuild(body), end() } */
async function startBareExpress() {
  const child = fork(__filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const told = () => new Promise((resolve) => child.once('message', resolve));
  const { port } = await told();
  return {
    port,
    pid: child.pid,
    /** What a GET is answered with from now on. */
    async prebuild(body) {
      child.send({ body });
      await told();
    },
    end() {
      child.kill('SIGKILL');
      done();
    },
  };
}

module.exports = { startBareExpress };
