/**
 * Hosts for tests: network namespaces, each with an address that is no loopback one, on a switch in a namespace of its own.
 * Nothing of the machine's own network is touched; all of it goes with the processes that hold the namespaces.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { until } from './until';

export interface Host {
  readonly address: string;
  /** @returns argv that runs a program on it, in the same process */
  enter(argv: readonly string[]): string[];
}

/** Undefined: hosts can be had. Else why not. */
export function hostsMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const { status, error, stderr } = spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', 'veth'], {
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `network namespaces cannot be had: ${error?.message ?? stderr.trim()}`;
}

export class Hosts {
  readonly #holders: ChildProcess[] = [];
  #switch: (argv: readonly string[]) => string[] = (argv) => [...argv];

  static async open(): Promise<Hosts> {
    const hosts = new Hosts();
    hosts.#switch = await hosts.#hold();
    run(hosts.#switch(['ip', 'link', 'add', 'switch', 'type', 'bridge']));
    run(hosts.#switch(['ip', 'link', 'set', 'switch', 'up']));
    return hosts;
  }

  async add(): Promise<Host> {
    const enter = await this.#hold();
    const number = this.#holders.length;
    const [port, address] = [`port${number}`, `10.91.0.${number}`];
    const pid = String(this.#holders.at(-1)!.pid);
    run(this.#switch(['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid]));
    run(this.#switch(['ip', 'link', 'set', port, 'master', 'switch', 'up']));
    run(enter(['ip', 'link', 'set', 'lo', 'up']));
    run(enter(['ip', 'address', 'add', `${address}/24`, 'dev', 'eth0']));
    run(enter(['ip', 'link', 'set', 'eth0', 'up']));
    return { address, enter };
  }

  async close(): Promise<void> {
    for (const holder of this.#holders) {
      const ended = once(holder, 'exit');
      holder.kill('SIGKILL');
      await ended;
    }
  }

  async #hold(): Promise<Host['enter']> {
    const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
    this.#holders.push(holder);
    const namespace = `/proc/${holder.pid}/ns/net`;
    const own = readlinkSync('/proc/self/ns/net');
    await until(() => readlinkSync(namespace) !== own, { what: 'there is a network namespace' });
    return (argv) => ['nsenter', `--net=${namespace}`, '--', ...argv];
  }
}

/** @throws Error with what it wrote to standard error */
function run([file, ...args]: readonly string[]): void {
  const { status, error, stderr } = spawnSync(file!, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}
