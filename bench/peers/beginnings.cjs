'use strict';
/** A script that says when it has begun, whoever starts it, by a line with its pid into a pipe; and what has been heard of it. */
const { execFileSync } = require('node:child_process');
const { constants, openSync, writeFileSync } = require('node:fs');
const { Socket } = require('node:net');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { enlist } = require('../harness/ending.cjs');
const { makeDirectory } = require('../harness/part.cjs');
const { until } = require('../harness/until.cjs');

const BEGUN_WITHIN_MS = 30_000;

class Beginnings {
  directory = makeDirectory();
  /** { pid, at } in order. */
  #heard = [];

  static async open() {
    const beginnings = new Beginnings();
    enlist(beginnings);
    const pipe = path.join(beginnings.directory, 'pipe');
    beginnings.script = path.join(beginnings.directory, 'script');
    execFileSync('mkfifo', ['-m', '666', pipe]);
    writeFileSync(beginnings.script, `#!/bin/sh\necho $$ >"${pipe}"\nexec sleep 100000\n`, { mode: 0o755 });
    // Open for both, so that it has a reader and no end between two writers.
    beginnings.listen(openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK));
    return beginnings;
  }

  listen(fd) {
    this.socket = new Socket({ fd, readable: true, writable: false });
    // Lines are shorter than what the kernel writes in one piece: none comes in two.
    this.socket.on('data', (data) => {
      const at = performance.now();
      for (const line of data.toString().trim().split('\n')) this.#heard.push({ pid: Number(line), at });
    });
  }

  clear() {
    this.#heard = [];
  }

  pids() {
    return this.#heard.map(({ pid }) => pid);
  }

  /** @returns when the last of so many has begun */
  async untilThere(count) {
    const what = `${count} have begun`;
    await until(() => this.#heard.length >= count, { what, everyMs: 1, timeoutMs: BEGUN_WITHIN_MS });
    return this.#heard.at(-1).at;
  }

  async destroy() {
    this.socket.destroy();
  }
}

module.exports = { Beginnings };
