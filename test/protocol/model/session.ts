/** The agent's session: the product's own class, made anew for each step as it was after the one before. */
import type { Admission, Session } from '../../../agent/session';
import { POLICY } from './time';
import type { Connection, Known, NodeId, ToAgent, World } from './world';

const CONNECTIONS = Array.from({ length: 64 }, (_, order) => ({ order }));

/** The product's session as it is now; what it writes to the lease page goes to the machine's. */
export function sessionOf(w: World, node: NodeId): Session {
  const machine = w.machines[node];
  const { latest, isPresent, sentAt } = machine.agent;
  const page = {
    read: () => ({ endsAtMs: machine.page.endsAt, term: machine.page.term }),
    refresh: ({ endsAtMs, term }: { endsAtMs: number; term: number }) => {
      machine.page = { endsAt: endsAtMs, term };
    },
    close: () => {},
  };
  // Before all times while it is made to be what it was: no lease is over then.
  let now = -1;
  const session = new w.setup.rules.Session(
    page,
    () => now,
    () => true,
  );
  if (latest !== null) {
    const connection = CONNECTIONS[latest.connection]!;
    session.begin(sessionMessage(w, node, latest.session), latest.epoch, sentAt, connection);
    if (!isPresent) session.end(connection);
  }
  now = w.now;
  return session;
}

function sessionMessage(w: World, node: NodeId, session: number) {
  const pace = w.setup.paces[node];
  const { heartbeatMs, leaseMs } = POLICY;
  return {
    type: 'session' as const,
    session,
    heartbeatMs,
    leaseMs: leaseMs * pace,
    startWithinMs: w.setup.rules.startWithinMs(POLICY) * pace,
  };
}

export function beginSession(
  w: World,
  { id, node, epoch }: Connection,
  { session, sentAt }: ToAgent & { kind: 'session' },
): void {
  const { agent } = w.machines[node];
  const product = sessionOf(w, node);
  const countsFrom = w.setup.rules.countsFromSending ? sentAt : w.now;
  product.begin(sessionMessage(w, node, session), epoch, countsFrom, CONNECTIONS[id]!);
  if (product.refusalOfStop({ epoch, session }) !== null) return;
  agent.latest = { epoch, session, connection: id };
  agent.isPresent = true;
  agent.sentAt = countsFrom;
}

export function acknowledge(w: World, { id, node }: Connection, sentAt: number): void {
  const { agent } = w.machines[node];
  const countsFrom = w.setup.rules.countsFromSending ? sentAt : w.now;
  sessionOf(w, node).acknowledge(countsFrom, CONNECTIONS[id]!);
  if (agent.isPresent && agent.latest!.connection === id) agent.sentAt = countsFrom;
}

/** The connection's end is seen, or the agent ends it. */
export function closeAtAgent(w: World, connection: Connection): void {
  const { agent } = w.machines[connection.node];
  connection.agentOpen = false;
  connection.toAgent = [];
  if (agent.latest?.connection === connection.id) agent.isPresent = false;
}

/** Of the last acknowledged heartbeat. */
export function startUntil({ machines, setup }: World, node: NodeId): number {
  return machines[node].agent.sentAt + setup.rules.startWithinMs(POLICY) * setup.paces[node];
}

export function mayExecute(w: World, node: NodeId, known: Known): boolean {
  const { agent } = w.machines[node];
  const session = sessionOf(w, node);
  const isSame = agent.latest !== null && known.session === agent.latest.connection;
  const admission: Admission = {
    session: isSame ? session.admission.session : { another: known.session },
    leaseTerm: known.leaseTerm,
  };
  return session.mayExecute({ isFirst: known.run === 1, isFenced: w.setup.onDisconnect === 'stop' }, admission);
}
