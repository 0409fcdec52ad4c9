/**
 * A site that means ill, for a real browser on this machine: pages of several origins, all with the same script, and
 * names that its DNS points to this machine after the page is there. Collects what its pages tell.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { end } from '../support/cluster';
import { until } from '../support/until';

const SCRIPT = readFileSync(path.join(__dirname, 'evilPage.js'), 'utf8');
const CHROMIUM = '/usr/bin/chromium';

/** What a page is to try against one server. */
export interface Target {
  base: string;
  /** Changes, with a body. */
  commands: [path: string, body: object][];
  /** Changes that need none. */
  bare: string[];
  reads: string[];
  events: string;
}

export interface Found {
  what: string;
  read: string | null;
  loaded?: boolean;
  opened?: boolean;
  status?: number;
  told?: string;
  error?: string;
}

export interface Report {
  name: string;
  origin: string;
  found: Found[];
}

export interface Page {
  name: string;
  /** Of a site of its own, under this host name. */
  host: string;
  targets: Target[];
  /** In a frame that has no origin. */
  sandboxed?: boolean;
  /** Its name leads to the server on this port of 127.0.0.1 as soon as the page is there. */
  rebindTo?: number;
}

/** @returns why there can be no browser, or undefined */
export function browserMissing(): string | undefined {
  const profile = mkdtempSync(path.join(tmpdir(), 'morch-browser-'));
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    `--user-data-dir=${profile}`,
    '--dump-dom',
    'about:blank',
  ];
  const { error, status } = spawnSync(CHROMIUM, args, { timeout: 60_000, stdio: 'ignore' });
  rmSync(profile, { recursive: true, force: true });
  if (error !== undefined) return `there is no ${CHROMIUM}: ${error.message}`;
  return status === 0 ? undefined : `${CHROMIUM} does not start here: it ended with ${status}`;
}

export class EvilSite {
  readonly reports: Report[] = [];
  private readonly servers: (Server | TcpServer)[] = [];
  private readonly directory = mkdtempSync(path.join(tmpdir(), 'morch-evil-'));
  private browser: ChildProcess | undefined;
  private port = 0;

  private constructor(private readonly pages: readonly Page[]) {}

  static async open(pages: readonly Page[]): Promise<EvilSite> {
    const site = new EvilSite(pages);
    site.port = await site.listen(site.makeServer(), 0, '127.0.0.1');
    for (const { rebindTo } of pages) {
      // Another address of this machine, which no server of ours listens on.
      if (rebindTo !== undefined) await site.listen(site.makeRebinding(rebindTo), rebindTo, '127.0.0.2');
    }
    return site;
  }

  /** A browser that looks at one of its pages, which has all others in frames. */
  visit(): void {
    const args = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${this.directory}/profile`];
    const names = 'MAP evil.test 127.0.0.1, MAP rebind.test 127.0.0.2';
    args.push('--no-first-run', '--no-proxy-server', `--host-resolver-rules=${names}`, '--remote-debugging-port=0');
    this.browser = spawn(CHROMIUM, [...args, `http://evil.test:${this.port}/`], { stdio: 'ignore' });
  }

  get hasEnded(): boolean {
    return this.browser?.exitCode !== null;
  }

  private get hasProcesses(): boolean {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(this.directory);
      } catch {
        return false; // it has ended meanwhile
      }
    });
  }

  async close(): Promise<void> {
    if (this.browser !== undefined) await end(this.browser, 'SIGTERM');
    // Its other processes end a little later, and write until then.
    await until(() => !this.hasProcesses, { timeoutMs: 15_000, what: 'all of the browser has ended' });
    for (const server of this.servers) server.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  private listen(server: Server | TcpServer, port: number, host: string): Promise<number> {
    this.servers.push(server);
    return new Promise((resolve, reject) => {
      server.on('error', reject);
      server.listen(port, host, () => resolve((server.address() as { port: number }).port));
    });
  }

  private urlOf({ name, host, rebindTo }: Page): string {
    return `http://${host}:${rebindTo ?? this.port}/evil/${name}`;
  }

  private htmlOf(name: string): string {
    const page = this.pages.find((one) => one.name === name)!;
    const plan = { name, report: `http://evil.test:${this.port}/report`, targets: page.targets };
    return `<!doctype html><meta charset=utf-8><body><script>const PLAN = ${JSON.stringify(plan)};\n${SCRIPT}</script>`;
  }

  private makeServer(): Server {
    return createServer((request, response) => {
      if (request.url === '/report') {
        let text = '';
        request.setEncoding('utf8').on('data', (data) => {
          text += data;
        });
        request.on('end', () => {
          this.reports.push(JSON.parse(text));
          response.end();
        });
        return;
      }
      const name = /^\/evil\/(\w+)$/.exec(request.url ?? '')?.[1];
      response.setHeader('content-type', 'text/html');
      if (name !== undefined) return response.end(this.htmlOf(name));
      const frames = this.pages.map((page) => {
        const sandbox = page.sandboxed ? ' sandbox="allow-scripts allow-forms"' : '';
        return `<iframe src="${this.urlOf(page)}"${sandbox}></iframe>`;
      });
      return response.end(`<!doctype html><body>${frames.join('')}`);
    });
  }

  /** The page comes from here; whatever else is asked goes on to the server, as if the name had come to mean its address. */
  private makeRebinding(port: number): TcpServer {
    return createTcpServer((from) => {
      from.on('error', () => from.destroy());
      from.once('data', (first) => {
        const name = /^GET \/evil\/(\w+) /.exec(first.toString('latin1'))?.[1];
        if (name !== undefined) {
          const html = this.htmlOf(name);
          const head = `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: ${Buffer.byteLength(html)}\r\nConnection: close`;
          return from.end(`${head}\r\n\r\n${html}`);
        }
        const to = connect(port, '127.0.0.1');
        to.write(first);
        to.on('error', () => from.destroy()).on('close', () => from.destroy());
        from.on('close', () => to.destroy());
        return from.pipe(to).pipe(from);
      });
    });
  }
}
