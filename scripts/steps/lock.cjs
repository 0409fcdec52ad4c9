/**
 * One set-up at a time per checkout: a lock file with the owner's pid and start time. A lock whose owner
 * is gone is taken over. A process started by the owner (npm's install script below the set-up's `npm ci`)
 * enters freely: it finds the owner's token in its environment.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { say } = require('./report.cjs');

const POLL_MS = 200;
const TAKEOVER_STALE_MS = 10_000;
const TOKEN_VARIABLE = 'MORCH_SETUP_LOCK';

/** `pid starttime`: pids are reused, start times of one boot are not (proc(5), stat field 22). */
function tokenOf(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return `${pid} -`;
  }
}

function isAlive(token) {
  const pid = Number.parseInt(token, 10);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  return tokenOf(pid) === token;
}

/** Creates `file` with its content in one step; false when it is there already. */
function createWhole(file, content) {
  const temporary = `${file}.${process.pid}`;
  fs.writeFileSync(temporary, content);
  try {
    fs.linkSync(temporary, file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    fs.unlinkSync(temporary);
  }
}

function readToken(file) {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Removes a lock left by a dead owner. Of several that see it dead, the one that makes the takeover file
 * looks again and removes it, so that nobody removes the lock that another has just made.
 */
function removeIfAbandoned(file) {
  const takeover = `${file}.takeover`;
  if (!createWhole(takeover, '')) {
    const madeAtMs = fs.statSync(takeover, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - madeAtMs > TAKEOVER_STALE_MS) fs.rmSync(takeover, { force: true });
    return;
  }
  try {
    const owner = readToken(file);
    if (owner !== null && !isAlive(owner)) fs.rmSync(file, { force: true });
  } finally {
    fs.rmSync(takeover, { force: true });
  }
}

/**
 * Runs `action` while holding the checkout's lock; waits for another owner to finish.
 *
 * @param {string} root  the checkout
 * @param {(childEnv: NodeJS.ProcessEnv) => Promise<void>} action  childEnv: for children that lock as well
 */
async function withLock(root, action) {
  const file = path.join(root, '.setup.lock');
  const inherited = process.env[TOKEN_VARIABLE];
  if (inherited !== undefined && inherited === readToken(file) && isAlive(inherited)) {
    return action(process.env);
  }
  const token = tokenOf(process.pid);
  let waitingFor = null;
  while (!createWhole(file, token)) {
    const owner = readToken(file);
    if (owner === null) continue;
    if (!isAlive(owner)) {
      removeIfAbandoned(file);
    } else if (owner !== waitingFor) {
      waitingFor = owner;
      say(`waiting for another set-up of this folder (pid ${Number.parseInt(owner, 10)}) to finish ...`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  try {
    return await action({ ...process.env, [TOKEN_VARIABLE]: token });
  } finally {
    if (readToken(file) === token) fs.rmSync(file, { force: true });
  }
}

module.exports = { withLock };
