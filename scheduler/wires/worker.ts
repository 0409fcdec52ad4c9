/** The thread of the connections to agents: does what thread.ts says, and tells it what comes of it. */
import { performance } from 'node:perf_hooks';
import { parentPort } from 'node:worker_threads';
import type { AgentAddress, AgentTls } from '../agentClient';
import { isOutdone } from '../heartbeatText';
import type { NodeConnection } from '../tls/nodeConnection';
import { BATCHES_AT_MOST, NEWS_IN_BATCH, type PlainAddress, type WireCommand, type WireNews } from './messages';
import { Prober } from './probe';
import { spaced } from './spaced';
import { OwnWire } from './wires';

/** While more of what agents said waits to be taken in, nothing more is read of whoever says something. */
const WAITING_AT_MOST_CHARS = 16 * 2 ** 20;

const port = parentPort!;
const wires = new Map<number, Open>();
const probers = new Map<number, { prober: Prober; tls: ResumedTls | undefined }>();
const paused = new Set<OwnWire>();
let waiting: WireNews[] = [];
let waitingChars = 0;
/** Batches that have not been taken in. */
let underWay = 0;

interface Open {
  own: OwnWire;
  /** The last that was heard of it, as long as it waits. */
  last: (WireNews & { kind: 'message' }) | null;
}

const tellSoon = spaced(tellWaiting);

/** The other thread decides what each connection is begun with, and keeps the sessions. */
class ResumedTls implements AgentTls {
  constructor(
    readonly id: number,
    public begun: NodeConnection,
  ) {}

  connection(): NodeConnection {
    return this.begun;
  }

  keepSession(session: Uint8Array, { cert }: Pick<NodeConnection, 'cert'>): void {
    tell({ kind: 'session', tls: this.id, session, cert });
  }
}

port.on('message', (commands: WireCommand[]) => {
  for (const command of commands) obey(command);
});

function obey(command: WireCommand): void {
  switch (command.kind) {
    case 'open':
      open(command);
      return;
    case 'send':
      wires.get(command.wire)?.own.send(command.text);
      return;
    case 'end':
      drop(command.wire)?.end();
      return;
    case 'probe':
      void probe(command);
      return;
    case 'endProber':
      probers.get(command.prober)?.prober.close();
      probers.delete(command.prober);
      return;
    case 'watch':
      watch(command.stallMs);
      return;
    case 'taken':
      underWay -= 1;
      tellWaiting();
      return;
  }
}

function open({ wire, address, path, handshakeMs }: WireCommand & { kind: 'open' }): void {
  const own = new OwnWire(addressOf(address, undefined), path, handshakeMs, {
    onMessage: (text) => hear(wire, text),
    onError: (message) => tell({ kind: 'error', wire, message }),
    onClose: (code, reason) => {
      drop(wire);
      tell({ kind: 'close', wire, code, reason });
    },
  });
  wires.set(wire, { own, last: null });
}

/** Heartbeats that wait are not taken in one by one: of a busy scheduler the last ones would be heard ever later. */
function hear(wire: number, text: string): void {
  const open = wires.get(wire)!;
  if (open.last !== null && isOutdone(open.last.text, text)) {
    waitingChars += text.length - open.last.text.length;
    open.last.text = text;
    return;
  }
  open.last = { kind: 'message', wire, text };
  waitingChars += text.length;
  tell(open.last);
  if (waitingChars <= WAITING_AT_MOST_CHARS) return;
  paused.add(open.own);
  open.own.pause();
}

function drop(wire: number): OwnWire | undefined {
  const own = wires.get(wire)?.own;
  wires.delete(wire);
  if (own !== undefined) paused.delete(own);
  return own;
}

async function probe({ probe, prober, address, timeoutMs, overKept }: WireCommand & { kind: 'probe' }): Promise<void> {
  const asking = probers.get(prober) ?? { prober: new Prober(), tls: undefined };
  probers.set(prober, asking);
  const to = addressOf(address, asking.tls);
  asking.tls = to.tls;
  tell({ kind: 'probed', probe, result: await asking.prober.probe(to, timeoutMs, overKept) });
}

/** @param before of the same prober: a kept connection is known by it */
function addressOf(
  { host, port, token, tls }: PlainAddress,
  before: ResumedTls | undefined,
): AgentAddress & { tls: ResumedTls | undefined } {
  if (tls === undefined) return { host, port, token, tls };
  const known = before?.id === tls.id ? before : new ResumedTls(tls.id, tls.begun);
  known.begun = tls.begun;
  return { host, port, token, tls: known };
}

/** Its timer is due before those of the probes that time out meanwhile. */
function watch(stallMs: number): void {
  const everyMs = stallMs / 2;
  let dueMs = performance.now() + everyMs;
  setInterval(() => {
    const nowMs = performance.now();
    if (nowMs - dueMs > stallMs) tell({ kind: 'stalled' });
    dueMs = nowMs + everyMs;
  }, everyMs);
}

function tell(news: WireNews): void {
  waiting.push(news);
  tellSoon();
}

/** As much as may be under way. */
function tellWaiting(): void {
  let told = 0;
  for (; underWay < BATCHES_AT_MOST && told < waiting.length; underWay += 1) {
    const batch = waiting.slice(told, told + NEWS_IN_BATCH);
    told += batch.length;
    for (const news of batch) if (news.kind === 'message') leaves(news);
    port.postMessage(batch);
  }
  if (told > 0) waiting = waiting.slice(told);
  if (waitingChars > WAITING_AT_MOST_CHARS / 2) return;
  for (const own of paused) own.resume();
  paused.clear();
}

function leaves(news: WireNews & { kind: 'message' }): void {
  waitingChars -= news.text.length;
  const open = wires.get(news.wire);
  if (open?.last === news) open.last = null;
}
