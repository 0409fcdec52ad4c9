/**
 * A real browser on the machine of a scheduler and an agent that ask nobody for a token, looking at pages that mean ill:
 * of another site, of another port of this machine, without an origin, and under names that come to mean this machine.
 * The same is done to a server without defences, which shows that the pages do what they are meant to.
 */
import { createServer, type Server } from 'node:http';
import { fetch } from 'undici';
import { WebSocketServer } from 'ws';
import { Agents, type TestAgent } from '../support/agent';
import { Cluster } from '../support/cluster';
import { until } from '../support/until';
import { browserMissing, EvilSite, type Page, type Report, type Target } from './evilSite';

jest.setTimeout(180_000);

const CANARY = 'canary-4711';

/** Answers and does whatever it is asked, as many a tool on localhost. */
class Victim {
  readonly submitted: string[] = [];
  readonly headed: string[] = [];
  private readonly server: Server;

  constructor() {
    this.server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (data) => {
        body += data;
      });
      request.on('end', () => {
        if (request.method === 'POST') {
          if (body.includes('command'))
            this.submitted.push(`${request.headers['content-type']} ${request.headers.host}`);
          else this.headed.push(request.url!);
        }
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ canary: CANARY }));
      });
    });
    new WebSocketServer({ server: this.server }).on('connection', (socket) => socket.send(CANARY));
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return (this.server.address() as { port: number }).port;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

const missing = browserMissing();
const title = 'pages in a real browser';
(missing === undefined ? describe : describe.skip)(
  missing === undefined ? title : `${title} (skipped: ${missing})`,
  () => {
    const agents = new Agents();
    const victim = new Victim();
    let open: Cluster;
    let closed: Cluster;
    let alone: TestAgent;
    let site: EvilSite | undefined;
    let reports: Report[];
    let before: unknown;

    const asAnybody = async (url: string) => (await fetch(url)).json() as Promise<Record<string, unknown[]>>;
    const stateOf = async () => {
      const { workloads } = await asAnybody(`${open.url}/workloads`);
      const { nodes } = await asAnybody(`${open.url}/nodes`);
      const { processes } = await asAnybody(`${alone.address}/status`);
      return {
        workloads: (workloads as { id: string; version: number; status: string }[]).map(({ id, version, status }) => [
          id,
          version,
          status,
        ]),
        nodes: (nodes as { id: string; schedulable: boolean }[]).map(({ id, schedulable }) => [id, schedulable]),
        processes: (processes as { instanceId: string; pid: number }[]).map(({ instanceId, pid }) => [instanceId, pid]),
        tokens: (await asAnybody(`${open.url}/tokens`)).tokens!.length,
        closed: (await closed.request('GET', '/workloads')).body,
      };
    };

    const schedulerAt = (base: string): Target => ({
      base,
      commands: [
        ['/workloads', { command: ['sleep', '600'] }],
        ['/tokens', { name: 'mine', role: 'admin' }],
      ],
      bare: [`/workloads/${CANARY}/restart`, '/nodes/n1/cordon', '/recovery/release'],
      reads: ['/workloads', '/health', '/backup'],
      events: '/events?since=0',
    });
    const agentAt = (base: string): Target => ({
      base,
      commands: [
        ['/start', { command: ['sleep', '600'] }],
        ['/stop', { instanceId: `${CANARY}.0` }],
      ],
      bare: [],
      reads: ['/status', `/instances/${CANARY}.0/logs`],
      events: '/events',
    });
    const victimAt = (base: string): Target => ({ ...schedulerAt(base), bare: ['/x/y'], reads: ['/workloads'] });

    beforeAll(async () => {
      [open, closed, alone] = await Promise.all([
        Cluster.start(1, { schedulerArgs: { auth: false }, agentArgs: { auth: false } }),
        Cluster.start(0),
        agents.start({ auth: false }),
      ]);
      const port = await victim.listen();
      await open.submit({ id: CANARY, kind: 'service', command: ['sleep', '600'] });
      await open.untilRunning(CANARY, 1);
      const started = await fetch(`${alone.address}/start`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          command: ['/bin/sh', '-c', `echo ${CANARY}; exec sleep 600`],
          instanceId: `${CANARY}.0`,
        }),
      });
      expect(started.status).toBe(201);

      const at = (host: string) => [
        schedulerAt(`http://${host}:${open.scheduler.port}`),
        schedulerAt(`http://${host}:${closed.scheduler.port}`),
        agentAt(`http://${host}:${alone.port}`),
        victimAt(`http://${host}:${port}`),
      ];
      const rebound = (name: string, rebindTo: number, target: (base: string) => Target): Page => ({
        ...{ name, host: 'rebind.test', rebindTo },
        targets: [target(`http://rebind.test:${rebindTo}`)],
      });
      site = await EvilSite.open([
        { name: 'foreign', host: 'evil.test', targets: at('127.0.0.1') },
        { name: 'foreignByName', host: 'evil.test', targets: at('localhost') },
        { name: 'neighbour', host: '127.0.0.1', targets: at('127.0.0.1') },
        { name: 'neighbourByName', host: 'localhost', targets: at('localhost') },
        { name: 'sandboxed', host: '127.0.0.1', sandboxed: true, targets: at('127.0.0.1') },
        { name: 'unrebound', host: 'evil.test', targets: at('evil.test') },
        rebound('reboundScheduler', open.scheduler.port, schedulerAt),
        rebound('reboundAgent', alone.port, agentAt),
        rebound('reboundVictim', port, victimAt),
      ]);
      before = await stateOf();
      site.visit();
      const { reports: told } = site;
      await until(() => told.length === 9, {
        timeoutMs: 150_000,
        everyMs: 100,
        what: 'all pages have told what they found',
      });
      reports = told;
    });
    afterAll(async () => {
      await site?.close();
      victim.close();
      await Promise.all([open?.close(), closed?.close()]);
      await agents.endAll();
    }, 60_000);

    const victimBase = () =>
      new RegExp(
        `:${reports
          .find(({ name }) => name === 'reboundVictim')!
          .origin.split(':')
          .at(-1)}/`,
      );
    const of = (name: string) => reports.find((report) => report.name === name)!.found;
    const againstUs = () =>
      reports.flatMap(({ name, found }) =>
        found.filter(({ what }) => !victimBase().test(what)).map((one) => ({ name, ...one })),
      );

    test('do to a server without defences what they try', () => {
      // Without any type: what a page gives as JSON without asking first.
      const types = new Set(victim.submitted.map((text) => text.split(/[ ;]/)[0]));
      expect(types).toEqual(
        new Set([
          'text/plain',
          'application/x-www-form-urlencoded',
          'multipart/form-data',
          'application/json',
          'undefined',
        ]),
      );
      expect(victim.submitted.length).toBeGreaterThan(50);
      expect(victim.headed.length).toBeGreaterThan(5);
      const read = (name: string) =>
        of(name)
          .filter((one) => one.read?.includes(CANARY) && victimBase().test(one.what))
          .map(({ what }) => what.split(' ')[0]);
      expect(read('foreign')).toEqual(['WebSocket']);
      expect(read('sandboxed')).toEqual(['WebSocket']);
      expect(read('reboundVictim')).toEqual(
        expect.arrayContaining(['form,', 'form', 'fetch,', 'GET', 'GET,', 'frame', 'WebSocket', 'DELETE']),
      );
    });

    test('change nothing', async () => {
      expect(await stateOf()).toEqual(before);
      const lines = (await asAnybody(`${open.url}/audit`)).lines as {
        who: { name: string };
        result?: { code?: string };
      }[];
      const ofPages = lines.filter(({ who }) => who.name === 'anonymous');
      expect(ofPages.length).toBeGreaterThan(0);
      for (const { result } of ofPages) expect(result?.code).toMatch(/^(CROSS_SITE|WRONG_HOST)$/);
    });

    test('read nothing', () => {
      const tried = againstUs();
      expect(tried.length).toBeGreaterThan(500);
      expect(
        tried.filter((one) => JSON.stringify(one.read)?.includes(CANARY) || JSON.stringify(one.told)?.includes(CANARY)),
      ).toEqual([]);
      expect(tried.filter(({ opened }) => opened)).toEqual([]);
      expect(tried.filter(({ loaded }) => loaded)).toEqual([]);
      // Of the refusal itself a page under the server's own name may read.
      for (const { name, what, read, told, status } of tried) {
        if (name.startsWith('rebound') && told != null)
          expect([what, status, told]).toEqual([what, 421, expect.stringContaining('WRONG_HOST')]);
        if (read !== null && read !== '')
          expect([name, what, read]).toEqual([name, what, expect.stringMatching(/WRONG_HOST|CROSS_SITE/)]);
      }
    });
  },
);
