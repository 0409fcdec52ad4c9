'use strict';
/**
 * HTTP load on a port of this machine, from a process of its own: `startLoad` forks this file, which then makes what it is asked
 * for on bare sockets, so that the load takes little of the machine. Requests are bytes made once; answers are counted by
 * their Content-Length, and not parsed.
 */
const { fork } = require('node:child_process');
const net = require('node:net');
const { performance } = require('node:perf_hooks');
const { onEnd } = require('./program.cjs');
const { percentile } = require('./statistics.cjs');

/** In a body: where the number of the request stands. As long as what takes its place. */
const NUMBER = '########';
const HEADER_END = '\r\n\r\n';

if (require.main === module) {
  process.on('message', async (job) => process.send(await makeLoad(job).catch((error) => ({ error: error.message }))));
  process.on('disconnect', () => process.exit());
}

/** @returns { run(job), end() } */
function startLoad() {
  const child = fork(__filename, { stdio: 'inherit' });
  const done = onEnd(() => child.kill('SIGKILL'));
  return {
    /** @param job see makeLoad; @returns what that returns */
    run: (job) =>
      new Promise((resolve, reject) => {
        child.once('exit', (code) => reject(new Error(`the load ended with ${code}`)));
        child.once('message', (result) => {
          child.removeAllListeners('exit');
          if (result.error === undefined) resolve(result);
          else reject(new Error(result.error));
        });
        child.send(job);
      }),
    end() {
      child.kill('SIGKILL');
      done();
    },
  };
}

/**
 * @param connections kept open, each with one request at a time
 * @param ratePerSecond how many are offered, whatever becomes of them: their time counts from when they were due; null: as many
 *   as are answered
 * @param firstNumber of the first request, for bodies with NUMBER in them
 * @returns { perSecond, answers, statuses, p50Ms, p99Ms, maxMs }
 */
async function makeLoad({ port, seconds, connections, ratePerSecond = null, firstNumber = 0, ...asked }) {
  const { before, after } = bytesOf(asked, port);
  const sockets = await Promise.all(Array.from({ length: connections }, () => connect(port)));
  const times = [];
  const statuses = {};
  const idle = [...sockets];
  const due = [];
  let number = firstNumber;
  const beganAt = performance.now();
  const endsAt = beganAt + seconds * 1_000;
  const send = (socket, dueAt) => {
    socket.dueAt = dueAt;
    if (after === null) socket.write(before);
    else socket.write(`${before}${String(number++).padStart(NUMBER.length, '0')}${after}`);
  };
  const answered = new Promise((resolve, reject) => {
    const next = (socket) => {
      const now = performance.now();
      if (ratePerSecond === null && now < endsAt) return send(socket, now);
      if (due.length > 0) return send(socket, due.shift());
      idle.push(socket);
      if (now >= endsAt && idle.length === connections) resolve();
    };
    for (const socket of sockets) {
      readAnswers(socket, (status) => {
        statuses[status] = (statuses[status] ?? 0) + 1;
        times.push(performance.now() - socket.dueAt);
        next(socket);
      });
      socket.on('close', () => reject(new Error(`a connection was closed, after ${JSON.stringify(statuses)}`)));
      socket.on('error', reject);
    }
    if (ratePerSecond === null) for (const socket of idle.splice(0)) next(socket);
    else {
      let offered = 0;
      const timer = setInterval(() => {
        const now = performance.now();
        for (; offered < ((Math.min(now, endsAt) - beganAt) / 1e3) * ratePerSecond; offered += 1) {
          const dueAt = beganAt + (offered / ratePerSecond) * 1e3;
          const socket = idle.shift();
          if (socket === undefined) due.push(dueAt);
          else send(socket, dueAt);
        }
        if (now < endsAt) return;
        clearInterval(timer);
        if (idle.length === connections) resolve();
      }, 1);
    }
  });
  await answered;
  const tookSeconds = (performance.now() - beganAt) / 1e3;
  for (const socket of sockets) socket.removeAllListeners().destroy();
  return {
    perSecond: times.length / tookSeconds,
    answers: times.length,
    statuses,
    p50Ms: percentile(times, 50),
    p99Ms: percentile(times, 99),
    maxMs: percentile(times, 100),
  };
}

/** @returns what is before the number, and behind it; `after` null where there is none */
function bytesOf({ method, path, token = null, body = null }, port) {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
    ...(body === null ? [] : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`]),
  ];
  const [before, after = null] = `${lines.join('\r\n')}${HEADER_END}${body ?? ''}`.split(NUMBER);
  return { before, after };
}

function connect(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Calls `onAnswer` with the status of each answer when the whole of it is there. */
function readAnswers(socket, onAnswer) {
  let head = '';
  /** Of the body; -1 while its length is not known. */
  let missing = -1;
  let status = 0;
  socket.on('data', (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (missing < 0) {
        const known = head.length;
        head += chunk.latin1Slice(at);
        const end = head.indexOf(HEADER_END);
        if (end === -1) return;
        status = Number(head.slice(9, 12));
        missing = Number(/\r\ncontent-length: *(\d+)/i.exec(head.slice(0, end + 2))?.[1] ?? 0);
        at += end + HEADER_END.length - known;
        head = '';
      }
      const taken = Math.min(missing, chunk.length - at);
      missing -= taken;
      at += taken;
      if (missing > 0) return;
      missing = -1;
      onAnswer(status);
    }
  });
}

module.exports = { NUMBER, startLoad };
