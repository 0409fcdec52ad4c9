/**
 * Entry of the fault suite: goes into namespaces of its own (network, processes, mounts), where main.ts then runs. So
 * whatever a scenario does befalls nobody else, and whatever way this program ends, the kernel ends all that it started.
 *
 * Exit codes: 0 nothing was found; 1 something was; 2 usage; 77 it cannot be run here (the reason is printed).
 */
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const EXIT_SKIPPED = 77;
/** What a run that failed, or was killed, leaves behind is kept for so long. */
const KEPT_MS = 3_600_000;
/** Set inside: the pid, outside, of this program. Directories are named after it. */
const INSIDE = 'MORCH_FAULTS_OF';
/** The first process in there takes in orphans, as a machine's init does, and ends with what main.ts ends with. */
const INIT = '"$@" & wait $!';
const NAMESPACES = ['--net', '--pid', '--mount-proc', '--propagation', 'private', '--fork', '--kill-child'];

/** @returns {string | null} why it cannot be run here */
function reasonToSkip() {
  if (process.platform !== 'linux') return 'it needs Linux';
  if (process.getuid() !== 0) return 'only root may make network namespaces';
  const tried = spawnSync('unshare', [...NAMESPACES, 'ip', 'link', 'add', 'type', 'veth'], { encoding: 'utf8' });
  if (tried.error !== undefined) return `unshare (util-linux): ${tried.error.message}`;
  return tried.status === 0 ? null : `namespaces or ip (iproute2): ${tried.stderr.trim()}`;
}

/** Removes the directories of runs that are no more, unless somebody may still look at what failed in them. */
function reap() {
  for (const name of fs.readdirSync(os.tmpdir())) {
    const pid = /^morch-faults-(\d+)$/.exec(name)?.[1];
    const directory = path.join(os.tmpdir(), name);
    if (pid === undefined || fs.existsSync(`/proc/${pid}`)) continue;
    const ageMs = Date.now() - fs.statSync(directory).mtimeMs;
    if (ageMs > KEPT_MS) fs.rmSync(directory, { recursive: true, force: true });
  }
}

function enter() {
  const reason = reasonToSkip();
  if (reason !== null) {
    console.log(`skipped: ${reason}`);
    process.exit(EXIT_SKIPPED);
  }
  reap();
  const inner = ['sh', '-c', INIT, 'init', process.execPath, __filename, ...process.argv.slice(2)];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, ...inner], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: String(process.pid) },
  });
  // Ctrl-C reaches main.ts as well, which says how far it was.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGKILL'));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + os.constants.signals[signal]));
}

/** Lets `require` take TypeScript, with the compiler that jest uses. */
function takeTypeScript() {
  const { transformSync } = require('@swc/core');
  require.extensions['.ts'] = (module, filename) => {
    const { code } = transformSync(fs.readFileSync(filename, 'utf8'), {
      filename,
      jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
      module: { type: 'commonjs' },
      sourceMaps: 'inline',
      swcrc: false,
    });
    module._compile(code, filename);
  };
}

if (process.env[INSIDE] === undefined) enter();
else {
  takeTypeScript();
  require('./main.ts').main(process.argv.slice(2), Number(process.env[INSIDE]));
}
