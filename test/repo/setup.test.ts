import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(__dirname, '../..');

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'morch-setup-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Ended {
  code: number | null;
  stderr: string;
}

/** Runs Node on a script with nothing of the caller's npm or morch settings. */
function runNode(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(MORCH_|npm_)/.test(name));
  return new Promise((resolve) => {
    const options = { env: { ...Object.fromEntries(inherited), ...env } };
    const child = execFile(process.execPath, args, options, (_error, _stdout, stderr) => {
      resolve({ code: child.exitCode, stderr });
    });
  });
}

/** A package folder with the real scripts and a native addon of one function. */
function makePackage(): void {
  fs.cpSync(path.join(ROOT, 'scripts'), path.join(folder, 'scripts'), { recursive: true });
  fs.copyFileSync(path.join(ROOT, 'package.json'), path.join(folder, 'package.json'));
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  const native = path.join(folder, 'agent/native');
  fs.mkdirSync(path.join(native, 'src'), { recursive: true });
  fs.copyFileSync(path.join(ROOT, 'agent/native/package.json'), path.join(native, 'package.json'));
  fs.writeFileSync(
    path.join(native, 'CMakeLists.txt'),
    [
      'cmake_minimum_required(VERSION 3.18)',
      'project(tiny C)',
      'add_library(tiny SHARED src/tiny.c)',
      'set_target_properties(tiny PROPERTIES PREFIX "" SUFFIX ".node")',
      `target_include_directories(tiny PRIVATE $\{CMAKE_JS_INC})`,
    ].join('\n'),
  );
  writeAddon('1');
}

function writeAddon(answer: string): void {
  fs.writeFileSync(
    path.join(folder, 'agent/native/src/tiny.c'),
    `#define NAPI_VERSION 8
#include <node_api.h>
NAPI_MODULE_INIT() {
  napi_value answer;
  napi_create_int32(env, ${answer}, &answer);
  return answer;
}
`,
  );
}

const installNative = (env?: NodeJS.ProcessEnv) => runNode([path.join(folder, 'scripts/install-native.cjs')], env);

describe('install-native', () => {
  beforeEach(makePackage);

  test('builds once, and again when a source changes', async () => {
    const addon = path.join(folder, 'agent/native/build/Release/tiny.node');
    const home = path.join(folder, 'home');
    fs.mkdirSync(home);

    const first = await installNative({ HOME: home });
    expect(first).toEqual({
      code: 0,
      stderr: expect.stringContaining('build the native addon (cmake-js build): done'),
    });
    expect(fs.readdirSync(home)).toEqual([]);
    expect(await installNative()).toEqual({ code: 0, stderr: '' });

    writeAddon('2');
    expect((await installNative()).stderr).toContain('done in');
    const loaded = await runNode(['-e', `process.exitCode = require(${JSON.stringify(addon)})`]);
    expect(loaded.code).toBe(2);

    fs.truncateSync(addon);
    expect((await installNative()).stderr).toContain('done in');
    expect(fs.statSync(addon).size).toBeGreaterThan(0);
  });

  test('shows the compiler’s words when the build fails, and builds again afterwards', async () => {
    writeAddon('no_such_name');
    for (const _attempt of [1, 2]) {
      const { code, stderr } = await installNative();
      expect(code).toBe(1);
      expect(stderr).toMatch(/tiny\.c:\d+:\d+: error: .*no_such_name/);
    }
    writeAddon('3');
    expect((await installNative()).code).toBe(0);
  });

  test('without cmake or a compiler says how to get them', async () => {
    const { code, stderr } = await installNative({ PATH: folder });
    expect(code).toBe(1);
    expect(stderr).toContain('cmake, a C++ compiler, a C compiler, make');
    expect(stderr).toMatch(/apt-get install -y cmake g\+\+ make/);
    expect(stderr).toMatch(/dnf install -y cmake gcc-c\+\+ make/);
    expect(stderr).toMatch(/apk add cmake g\+\+ make/);
  });

  test('MORCH_SKIP_NATIVE=1 leaves the addon out', async () => {
    const { code, stderr } = await installNative({ PATH: folder, MORCH_SKIP_NATIVE: '1' });
    expect(code).toBe(0);
    expect(stderr).toContain('MORCH_SKIP_NATIVE=1');
    expect(fs.existsSync(path.join(folder, 'agent/native/build'))).toBe(false);
  });

  test('elsewhere than on Linux it warns and succeeds', async () => {
    const pretend = path.join(folder, 'pretend.cjs');
    fs.writeFileSync(pretend, "Object.defineProperty(process, 'platform', { value: 'darwin' });");
    const { code, stderr } = await installNative({ PATH: folder, NODE_OPTIONS: `--require=${pretend}` });
    expect(code).toBe(0);
    expect(stderr).toContain('warning: the native addon is for Linux only, this is darwin');
  });
});

describe('the set-up', () => {
  test('refuses an old Node and says which is needed', async () => {
    makePackage();
    const pretend = path.join(folder, 'pretend.cjs');
    fs.writeFileSync(pretend, "Object.defineProperty(process.versions, 'node', { value: '18.20.4' });");
    const setup = path.join(folder, 'scripts/setup.cjs');
    const { code, stderr } = await runNode([setup], { NODE_OPTIONS: `--require=${pretend}` });
    expect(code).toBe(1);
    expect(stderr).toContain('Node 18.20.4 is too old: Node 20.19 or newer is needed');
  });

  test.each([
    ['20.19.0', true],
    ['20.20.2', true],
    ['22.0.0', true],
    ['24.1.0', true],
    ['20.18.3', false],
    ['20.9.0', false],
    ['18.20.4', false],
  ])('Node %s supported: %s', (version, supported) => {
    const { explainUnsupportedNode } = require(path.join(ROOT, 'scripts/steps/nodeVersion.cjs'));
    expect(explainUnsupportedNode(version, '>=20.19') === null).toBe(supported);
  });
});

describe('the lock', () => {
  /** A program that notes when it enters and leaves the locked part. */
  function writeLocker(): string {
    const file = path.join(folder, 'locker.cjs');
    fs.writeFileSync(
      file,
      `const fs = require('node:fs');
const { withLock } = require(${JSON.stringify(path.join(ROOT, 'scripts/steps/lock.cjs'))});
const note = (word) => fs.appendFileSync(${JSON.stringify(path.join(folder, 'notes'))}, word + ' ' + process.pid + '\\n');
withLock(${JSON.stringify(folder)}, async () => {
  note('in');
  await new Promise((resolve) => setTimeout(resolve, 50));
  note('out');
});
`,
    );
    return file;
  }

  test('lets one in at a time, and takes over the lock of a dead owner', async () => {
    const dead = spawn(process.execPath, ['-e', '']);
    await once(dead, 'exit');
    fs.writeFileSync(path.join(folder, '.setup.lock'), `${dead.pid} 12345`);
    const locker = writeLocker();
    const ended = await Promise.all(Array.from({ length: 6 }, () => runNode([locker])));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0]);

    const notes = fs.readFileSync(path.join(folder, 'notes'), 'utf8').trim().split('\n');
    expect(notes).toHaveLength(12);
    for (let i = 0; i < notes.length; i += 2) {
      expect([notes[i], notes[i + 1]]).toEqual([expect.stringMatching(/^in/), notes[i]?.replace('in', 'out')]);
    }
    expect(fs.readdirSync(folder).sort()).toEqual(['locker.cjs', 'notes']);
  });

  test('is not passed by a stranger who has an old token in the environment', async () => {
    const locker = writeLocker();
    const { code } = await runNode([locker], { MORCH_SETUP_LOCK: '1 1' });
    expect(code).toBe(0);
    expect(fs.existsSync(path.join(folder, '.setup.lock'))).toBe(false);
  });
});
