/**
 * When two worlds are the same for all that can follow: times count from now, those that are over by how long they can
 * matter; connections by their order; lease terms by whether they are the page's.
 */
import { earliestVerdictMs } from '../../../scheduler/core/healthPolicy';
import { KILL_BUDGET_MS, MS, POLICY, TICK } from './time';
import { type Copy, type Known, NODES, type NodeId, type World } from './world';

// A look-up of a global is slow where jest runs this.
const { max } = Math;
const { isArray } = Array;

/** How long a moment that is over can still matter, on the slowest clock. */
const SLOWEST = 1.02;
const SINCE_SENDING = POLICY.leaseMs * SLOWEST * MS;
const SINCE_CONTACT = earliestVerdictMs(POLICY) * MS;
const SINCE_LEASE = 2 * KILL_BUDGET_MS * MS;

export function keyOf(w: World): string {
  const { scheduler, machines, calls, connections, faultsLeft, history } = w;
  const parts: (string | number)[] = [w.now % TICK];
  const order = new Map(connections.map(({ id }, index) => [id, index]));
  const connectionKey = (id: number | null): string | number => (id === null ? '-' : (order.get(id) ?? 'gone'));
  const ago = (at: number, matters = SINCE_SENDING): number => max(at - w.now, -matters);
  const ahead = (at: number | null): string | number => (at === null ? '-' : max(at - w.now, 0));

  const { epoch, lastSession, passDue, fenceEndsAt, stored, records } = scheduler;
  parts.push(scheduler.up ? 1 : 0, scheduler.stalled ? 1 : 0, epoch, lastSession, passDue ? 1 : 0, ahead(fenceEndsAt));
  parts.push(flat(records), same(stored, records) ? '=' : flat(stored));
  for (const node of NODES) {
    const memory = scheduler.nodes[node];
    const { connection, session, lastContactAt, leaseEndsAt, stale, sentStarts, sentStops, unanswered, toForget } =
      memory;
    parts.push(
      '|',
      connectionKey(connection),
      session ?? '-',
      ago(lastContactAt, SINCE_CONTACT),
      ago(leaseEndsAt, SINCE_LEASE),
    );
    parts.push(
      stale.join(),
      ';',
      sentStarts.join(),
      ';',
      sentStops.join(),
      ';',
      unanswered.join(),
      ';',
      toForget.join(),
    );
    parts.push(memory.heardSinceConnect ? 1 : 0);
  }
  for (const node of NODES) parts.push('|', machineKey(node));
  for (const { id, node, epoch: of, schedulerOpen, agentOpen, toScheduler, toAgent, isEndLate } of connections) {
    parts.push('c', connectionKey(id), node, of, schedulerOpen ? 1 : 0, agentOpen ? 1 : 0, isEndLate ? 1 : 0);
    for (const message of toScheduler) {
      if (message.isLate) parts.push('late');
      if (message.kind === 'report') parts.push('r', flat(message.report));
      else parts.push('h', ago(message.sentAt), flat(message.reports));
    }
    parts.push('/');
    for (const message of toAgent) {
      if (message.isLate) parts.push('late');
      if (message.kind === 'forget') parts.push('f', message.generations.join());
      else parts.push(message.kind, message.kind === 'session' ? message.session : '', ago(message.sentAt));
    }
  }
  const under = calls.map((call) => flat(call)).sort();
  parts.push('k', ...under, faultsLeft, flat(history));
  return parts.join(' ');

  function machineKey(node: NodeId): string {
    const { frozen, cut, agent, page, copies } = machines[node];
    const { up, key, epoch: heard, latest, isPresent, sentAt, known } = agent;
    const session = latest === null ? '-' : `${latest.epoch}.${latest.session}.${connectionKey(latest.connection)}`;
    const copyKey = ({
      generation,
      run,
      leaseTerm,
      ownPage,
      looksAt,
      goneBy,
      fenced,
      overslept,
      gone,
    }: Copy): string => {
      const own = ownPage === null ? '' : `${ahead(ownPage.endsAt)}${ownPage.term === leaseTerm ? '=' : ''}`;
      const flags = `${fenced ? 'f' : ''}${overslept ? 'o' : ''}${gone ? 'g' : ''}${leaseTerm === page.term ? '=' : ''}`;
      return `${generation}.${run}${own}${flags}${ahead(looksAt)},${ahead(goneBy)}`;
    };
    const isSame = (of: number | null): boolean => latest !== null && of === latest.connection;
    const knownKey = ({ generation, run, stage, status, lost, started, stopAsked, ...let_ }: Known): string => {
      const flags = `${lost ? 'l' : ''}${started ? 's' : ''}${stopAsked ? 'x' : ''}`;
      const under = `${isSame(let_.session) ? 'c' : ''}${let_.leaseTerm === page.term ? '=' : ''}`;
      return `${generation}.${run}${stage}${status}${flags}${stage === 'ended' ? '' : under}${ahead(let_.startUntil)}`;
    };
    const lease = page.endsAt === 0 ? 'none' : ahead(page.endsAt);
    const told = latest === null ? '' : ago(sentAt);
    const who = `${up ? 1 : 0}${agent.stalled ? 1 : 0}${frozen ? 1 : 0}${cut ? 1 : 0} ${key} ${heard} ${session}${isPresent ? 1 : 0} ${told} ${lease}`;
    return `${who} ${known.map(knownKey).join()} ${copies.map(copyKey).join()}`;
  }
}

function flat(value: unknown): string {
  if (typeof value !== 'object' || value === null) return `${value}`;
  if (isArray(value)) return `[${value.map(flat).join()}]`;
  let text = '';
  for (const key in value) text += `${flat((value as Record<string, unknown>)[key])},`;
  return text;
}

function same(a: unknown, b: unknown): boolean {
  return flat(a) === flat(b);
}
