/**
 * The network of a scenario: hosts in network namespaces of their own, all joined by a router, which is the network namespace
 * that this program itself runs in. There packets between two hosts are lost as a scenario wants it: silently, by routing rules
 * (ip-rule(8), blackhole), or some of them, by nftables. This program reaches every host whatever is lost between them.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { until } from '../support/until';

/** Each host has a link of its own, 10.77.<number>.0/30: the router is .1, the host .2. */
const NETWORK = '10.77';
const ESTABLISHED = '01';
/** Rules of ours lie between the one for local addresses (0) and those of the main table. */
const FIRST_PREFERENCE = 1_000;

export interface Host {
  readonly name: string;
  readonly address: string;
  /** @returns argv that runs a program in there, in the same process */
  enter(argv: readonly string[]): string[];
}

/** Ends what was done to the network; again, it does nothing. */
export type Heal = () => void;

/** Packets of one direction. */
export interface Way {
  from: Host;
  to: Host;
}

interface Holder extends Host {
  readonly process: ChildProcess;
}

export class Fabric {
  readonly #hosts: Holder[] = [];
  readonly #healing = new Set<Heal>();
  #preference = FIRST_PREFERENCE;

  constructor() {
    run(['ip', 'link', 'set', 'lo', 'up']);
    for (const [name, value] of [
      ['ip_forward', '1'],
      ['conf/all/rp_filter', '0'],
      ['conf/default/rp_filter', '0'],
    ])
      writeFileSync(`/proc/sys/net/ipv4/${name}`, value!);
  }

  async addHost(name: string): Promise<Host> {
    const number = this.#hosts.length + 1;
    const holder = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
    const pid = holder.pid!;
    await until(() => namespaceOf(pid) !== namespaceOf(process.pid), { what: `${name} has a network namespace` });
    const enter = (argv: readonly string[]): string[] => ['nsenter', `--net=/proc/${pid}/ns/net`, '--', ...argv];
    const [router, address] = [`${NETWORK}.${number}.1`, `${NETWORK}.${number}.2`];
    run(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)]);
    run(['ip', 'address', 'add', `${router}/30`, 'dev', name]);
    run(['ip', 'link', 'set', name, 'up']);
    run(enter(['ip', 'link', 'set', 'lo', 'up']));
    run(enter(['ip', 'address', 'add', `${address}/30`, 'dev', 'eth0']));
    run(enter(['ip', 'link', 'set', 'eth0', 'up']));
    run(enter(['ip', 'route', 'add', 'default', 'via', router]));
    const host = { name, address, enter, process: holder };
    this.#hosts.push(host);
    return host;
  }

  /** All packets that way vanish, or are answered with "no route to host". */
  cut(way: Way, how: 'blackhole' | 'unreachable' = 'blackhole'): Heal {
    return this.#rule([...selectorOf(way)], how);
  }

  /** So many of a hundred packets that way vanish, at random. Needs nft. */
  lose(way: Way, percent: number): Heal {
    const table = `lossy${this.#preference++}`;
    run(['nft', 'add', 'table', 'ip', table]);
    run(['nft', 'add', 'chain', 'ip', table, 'forward', '{ type filter hook forward priority 0; }']);
    const which = `iifname ${way.from.name} ip daddr ${way.to.address} numgen random mod 100 < ${percent} drop`;
    run(['nft', 'add', 'rule', 'ip', table, 'forward', ...which.split(' ')]);
    return this.#healer(() => run(['nft', 'delete', 'table', 'ip', table]));
  }

  /** Connections to this port of `server` that are there now lead nowhere any more, and neither side is told. New ones work. */
  breakConnections(client: Host, server: Host, port: number): Heal {
    const heals = this.#peerPorts(server, port).flatMap((peer) => {
      const there = ['ipproto', 'tcp', 'sport', String(peer), 'dport', String(port)];
      const back = ['ipproto', 'tcp', 'sport', String(port), 'dport', String(peer)];
      return [
        this.#rule([...selectorOf({ from: client, to: server }), ...there], 'blackhole'),
        this.#rule([...selectorOf({ from: server, to: client }), ...back], 'blackhole'),
      ];
    });
    return () => {
      for (const heal of heals) heal();
    };
  }

  healAll(): void {
    for (const heal of this.#healing) heal();
  }

  async close(): Promise<void> {
    this.healAll();
    for (const { name, process: holder } of this.#hosts) {
      // A namespace goes a while after its last process; the name is needed before.
      run(['ip', 'link', 'del', name]);
      const ended = once(holder, 'exit');
      holder.kill('SIGKILL');
      await ended;
    }
    this.#hosts.length = 0;
  }

  #rule(selector: readonly string[], action: string): Heal {
    const preference = String(this.#preference++);
    run(['ip', 'rule', 'add', 'pref', preference, ...selector, action]);
    return this.#healer(() => run(['ip', 'rule', 'del', 'pref', preference]));
  }

  #healer(undo: () => void): Heal {
    const heal = () => {
      if (this.#healing.delete(heal)) undo();
    };
    this.#healing.add(heal);
    return heal;
  }

  /** Remote ports of the established connections to a port of a host (proc_net_tcp in the kernel's documentation). */
  #peerPorts(server: Host, port: number): number[] {
    const holder = this.#hosts.find(({ name }) => name === server.name)!.process;
    const lines = readFileSync(`/proc/${holder.pid}/net/tcp`, 'utf8').trim().split('\n').slice(1);
    return lines.flatMap((line) => {
      const [, local, remote, state] = line.trim().split(/\s+/);
      const isOne = state === ESTABLISHED && portOf(local!) === port;
      return isOne ? [portOf(remote!)] : [];
    });
  }
}

function selectorOf({ from, to }: Way): string[] {
  return ['iif', from.name, 'to', to.address];
}

function portOf(hexAddress: string): number {
  return Number.parseInt(hexAddress.split(':')[1]!, 16);
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
}

/** @throws Error with what it wrote to standard error */
function run([file, ...args]: readonly string[]): void {
  const { status, error, stderr } = spawnSync(file!, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}
