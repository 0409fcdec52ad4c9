/** A cluster of several machines, started as its users would: each part on an address that others reach, with TLS from the start. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { MAIN } from '../cli/morch';
import { end } from '../support/cluster';
import { type Host, Hosts, hostsMissing } from '../support/hosts';
import { until } from '../support/until';

jest.setTimeout(120_000);

const missing = hostsMissing();
const title = 'a cluster of several machines';

(missing === undefined ? describe : describe.skip)(
  missing === undefined ? title : `${title} (skipped: ${missing})`,
  () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'morch-tls-'));
    const at = (...names: string[]) => path.join(directory, ...names);
    const parts: ChildProcess[] = [];
    const logs = new Map<ChildProcess, { text: string }>();
    let hosts: Hosts;
    let scheduler: Host;
    let n1: Host;
    let n2: Host;
    let desk: Host;

    beforeAll(async () => {
      hosts = await Hosts.open();
      [scheduler, n1, n2, desk] = [await hosts.add(), await hosts.add(), await hosts.add(), await hosts.add()];
      start(scheduler, ['scheduler', '--host', scheduler.address, '--data-dir', at('scheduler')]);
      await until(
        () => readdirSync(directory).includes('scheduler') && readdirSync(at('scheduler')).includes('join.token'),
        {
          timeoutMs: 15_000,
          what: 'the scheduler has made its tokens',
        },
      );
      // What an operator carries to the other machines.
      for (const name of ['join.token', 'admin.token', 'pki/ca.crt'])
        copyFileSync(at('scheduler', name), at(path.basename(name)));
      agent('n1', n1);
      agent('n2', n2);
      await until(async () => (await morch('nodes', '-q')).split('\n').filter(Boolean).length === 2, {
        timeoutMs: 30_000,
        what: 'both have joined',
      });
    });
    afterAll(async () => {
      for (const part of parts.reverse()) await end(part, 'SIGTERM');
      await hosts.close();
      rmSync(directory, { recursive: true });
    });

    function start(host: Host, args: readonly string[]): ChildProcess {
      const [file, ...rest] = host.enter([process.execPath, MAIN, ...args]);
      const child = spawn(file!, rest, {
        env: { PATH: process.env.PATH, HOME: directory },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const log = { text: '' };
      for (const stream of [child.stdout, child.stderr]) {
        stream!.on('data', (data) => {
          log.text += data;
        });
      }
      logs.set(child, log);
      parts.push(child);
      return child;
    }

    function agent(name: string, host: Host, more: readonly string[] = []): ChildProcess {
      const url = `https://${scheduler.address}:5000`;
      const joining = ['--scheduler', url, '--join-token-file', at('join.token')];
      const rest = ['--data-dir', at(name), '--on-exit', 'stop', '--cgroup', 'none', ...more];
      return start(host, ['agent', '--name', name, '--host', host.address, ...joining, ...rest]);
    }

    /** From another machine. @returns what it printed */
    async function morch(...args: string[]): Promise<string> {
      const to = [
        '--address',
        `https://${scheduler.address}:5000`,
        '--token-file',
        at('admin.token'),
        '--ca-file',
        at('ca.crt'),
      ];
      const child = start(desk, [...to, ...args]);
      let stdout = '';
      child.stdout!.on('data', (data) => {
        stdout += data;
      });
      await new Promise((resolve) => child.once('close', resolve));
      parts.splice(parts.indexOf(child), 1);
      return stdout;
    }

    test('runs programs on every node, and gives back what they say', async () => {
      await morch(
        'submit',
        '--name',
        'hello',
        '--replicas',
        '2',
        '--wait',
        '--command',
        '/bin/sh',
        '--',
        '-c',
        'echo from $MORCH_NODE; sleep 1',
      );
      const said = await morch('logs', 'hello');
      expect(
        said
          .trim()
          .split('\n')
          .map((line) => line.replace(/^\S+ /, ''))
          .sort(),
      ).toEqual(['from n1', 'from n2']);
    });

    /** @returns what curl has printed, and the status of the answer; 0: there was none */
    async function curl(...args: string[]): Promise<{ told: string; status: number }> {
      const all = ['curl', '--silent', '--max-time', '10', '--write-out', '\n%{http_code}', ...args];
      const [file, ...rest] = desk.enter(all);
      const child = spawn(file!, rest, { stdio: ['ignore', 'pipe', 'ignore'] });
      let told = '';
      child.stdout.on('data', (data) => {
        told += data;
      });
      await new Promise((resolve) => child.once('close', resolve));
      const lines = told.split('\n');
      return { status: Number(lines.pop()), told: lines.join('\n') };
    }

    test('whoever comes without a certificate, or asks in the clear, is answered by no agent', async () => {
      for (const url of [`https://${n1.address}:8080/status`, `http://${n1.address}:8080/status`]) {
        expect(await curl('--insecure', url)).toEqual({ status: 0, told: '' });
      }
    });

    test('with the certificate and the tokens of n1, from another machine, nobody is n2, nor commands it', async () => {
      const stolen = ['--cert', at('n1', 'pki', 'node.pem'), '--key', at('n1', 'pki', 'node.pem')];
      const own = readFileSync(at('n1', 'agent.token'), 'utf8').trim();
      const url = `https://${scheduler.address}:5000`;
      const post = ['--cacert', at('ca.crt'), ...stolen, '--header', 'content-type: application/json', '--data'];
      const asN2 = JSON.stringify({ name: 'n2', host: desk.address, port: 8080, tls: true, agentToken: own });
      for (const more of [[], ['--header', `authorization: Bearer ${own}`]]) {
        expect((await curl(...post, asN2, `${url}/nodes`, ...more)).status).toBe(403);
        expect((await curl(...post, '{"csr":"x"}', `${url}/nodes/n2/certificate`, ...more)).status).toBe(403);
        expect((await curl(...post, '{}', `${url}/nodes/n2/drain`, ...more)).status).toBe(403);
        expect((await curl(...post, '{"command":["true"]}', `${url}/workloads`, ...more)).status).toBe(403);
      }
      // It does count, for what it is.
      expect((await curl(...post, '{"csr":"x"}', `${url}/nodes/n1/certificate`)).status).toBe(400);
      const token = readFileSync(at('n2', 'agent.token'), 'utf8').trim();
      const asScheduler = ['--insecure', ...stolen, '--header', `authorization: Bearer ${token}`];
      expect(await curl(...asScheduler, `https://${n2.address}:8080/status`)).toEqual({ status: 0, told: '' });
    });

    test.each([
      ['a scheduler without tokens', ['scheduler', '--no-auth'], '--no-auth is for loopback addresses only'],
      ['an agent without tokens', ['agent', '--no-auth'], '--no-auth is for loopback addresses only'],
      [
        'an agent of a scheduler that speaks plain HTTP',
        ['agent', '--scheduler', 'http://10.91.0.2:5000'],
        'needs a scheduler that speaks TLS',
      ],
    ])('%s does not start, and says what to do', async (_, [verb, ...args], why) => {
      const child = start(desk, [verb!, '--host', desk.address, '--data-dir', at('refused'), ...args]);
      const code = await new Promise((resolve) => child.once('close', resolve));
      parts.splice(parts.indexOf(child), 1);
      expect([code, logs.get(child)!.text]).toEqual([4, expect.stringContaining(why)]);
    });
  },
);
