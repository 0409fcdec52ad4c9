'use strict';
/**
 * All timers of a process of simulated agents: one interval of the system, and a list of tasks for each of its steps. A
 * task costs a place in a list, where a timer of Node's would cost an object and its place in a heap.
 */
const { performance } = require('node:perf_hooks');

const STEP_MS = 10;

class Wheel {
  /** Number of a step → what is due then. */
  #steps = new Map();
  #next = Math.ceil(performance.now() / STEP_MS);
  #interval = setInterval(() => this.#turn(), STEP_MS);

  /** Calls `task(nowMs)` at that time of performance.now(), up to a step later. */
  at(ms, task) {
    const step = Math.max(Math.ceil(ms / STEP_MS), this.#next);
    const tasks = this.#steps.get(step);
    if (tasks === undefined) this.#steps.set(step, [task]);
    else tasks.push(task);
  }

  after(ms, task) {
    this.at(performance.now() + ms, task);
  }

  #turn() {
    const nowMs = performance.now();
    while (this.#next * STEP_MS <= nowMs) {
      const tasks = this.#steps.get(this.#next);
      this.#steps.delete(this.#next);
      this.#next += 1;
      if (tasks !== undefined) for (const task of tasks) task(nowMs);
    }
  }

  close() {
    clearInterval(this.#interval);
  }
}

module.exports = { Wheel };
