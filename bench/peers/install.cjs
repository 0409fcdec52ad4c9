'use strict';
/**
 * The peers that benchmarks compare with, and their installation, which is done only when it is asked for.
 *
 *   node bench/peers/install.cjs
 *
 * PM2 comes from npm, into ~/.cache/morch-bench; supervisord and Slurm are packages of Debian, for which one must be root. What is
 * there already is left alone. The packages bring services of their own, which are not needed: the benchmarks start what they use.
 */
const { execFileSync } = require('node:child_process');
const { existsSync, mkdirSync } = require('node:fs');
const { Pm2, PREFIX } = require('./pm2.cjs');
const { Slurm } = require('./slurm.cjs');
const { Supervisord } = require('./supervisord.cjs');

const PM2_VERSION = '7.0.4';

const PEERS = {
  pm2: { kind: Pm2, install: installPm2, isRoot: false },
  supervisord: { kind: Supervisord, install: (say) => installPackages(['supervisor'], say), isRoot: false },
  slurm: { kind: Slurm, install: (say) => installPackages(['slurm-wlm', 'munge'], say), isRoot: true },
};

/**
 * @param names   of PEERS
 * @param install whether to install those that are missing
 * @returns { ready, skipped }: name → version of those that can be used, name → reason of the others
 */
function preparePeers(names, { install, say }) {
  const ready = {};
  const skipped = {};
  for (const name of names) {
    const reason = prepare(PEERS[name], { install, say });
    if (reason === null) ready[name] = PEERS[name].kind.version();
    else {
      skipped[name] = reason;
      say(`${PEERS[name].kind.label} is skipped: ${reason}`);
    }
  }
  return { ready, skipped };
}

/** @returns why it cannot be used, or null */
function prepare({ kind, install: installIt, isRoot }, { install, say }) {
  if (isRoot && process.getuid() !== 0) return 'it can be run by root only';
  if (kind.version() === null && install) {
    say(`${kind.label}: being installed`);
    try {
      installIt(say);
    } catch (error) {
      return `it could not be installed: ${error.message.split('\n')[0]}`;
    }
  }
  return kind.version() === null ? 'it is not installed; with --install it is' : null;
}

function installPm2(say) {
  mkdirSync(PREFIX, { recursive: true });
  const flags = ['--prefix', PREFIX, '--no-audit', '--no-fund', '--ignore-scripts'];
  run('npm', ['install', ...flags, `pm2@${PM2_VERSION}`], say);
}

function installPackages(names, say) {
  if (!existsSync('/usr/bin/apt-get')) throw new Error('there is no apt-get here');
  if (process.getuid() !== 0) throw new Error('packages are installed by root only');
  run('apt-get', ['update'], say);
  run('apt-get', ['install', '--yes', '--no-install-recommends', ...names], say);
}

/** What it prints goes to stderr, as all progress does. */
function run(program, args, say) {
  say(`$ ${program} ${args.join(' ')}`);
  // RUNLEVEL=1: invoke-rc.d(8) starts no service then.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  execFileSync(program, args, { env, stdio: ['ignore', 2, 2] });
}

if (require.main === module) {
  const { ready } = preparePeers(Object.keys(PEERS), {
    install: true,
    say: (line) => process.stderr.write(`${line}\n`),
  });
  for (const [name, version] of Object.entries(ready)) process.stdout.write(`${PEERS[name].kind.label} ${version}\n`);
  process.exitCode = Object.keys(ready).length === Object.keys(PEERS).length ? 0 : 1;
}

module.exports = { PEERS, preparePeers };
