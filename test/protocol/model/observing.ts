/** The scheduler observes: what nodeLink.ts, nodeRegistry.ts and controlLoop.ts make of what agents say. */
import { isTerminal, mayHoldProcess } from '../../../contract/states';
import { hasEnded, takeInReport } from '../../../scheduler/core/intake';
import { NOT_LINGERING } from '../../../scheduler/core/loss';
import { instanceReportOf, recordOf, update, workloadOf } from './records';
import { isAwake } from './step';
import { say } from './telling';
import { MS, POLICY } from './time';
import {
  type Call,
  type Connection,
  type NodeId,
  type NodeMemory,
  type Placed,
  type Report,
  type ToScheduler,
  type World,
  without,
} from './world';

export function hear(w: World, connection: Connection): void {
  const [message] = connection.toScheduler as [ToScheduler];
  connection.toScheduler = connection.toScheduler.slice(1);
  const { node } = connection;
  const memory = w.scheduler.nodes[node];
  memory.lastContactAt = w.now;
  if (message.kind === 'report') {
    takeIn(w, node, message.report);
    return;
  }
  renewLease(w, memory);
  w.scheduler.records.nodes[node].lost = false;
  w.scheduler.lastSession += 1;
  memory.session = w.scheduler.lastSession;
  takeInventory(w, node, message.reports);
  say(connection, { kind: 'session', session: memory.session, sentAt: message.sentAt });
}

/** From the receipt on: no sooner than the agent counts from its sending. */
function renewLease(w: World, memory: NodeMemory): void {
  memory.leaseEndsAt = w.now + POLICY.leaseMs * MS;
}

/**
 * A heartbeat is sent and heard. That takes no time: one that is late has the scheduler wait longer and no agent live longer.
 * What is late is its acknowledgement.
 */
export function hearHeartbeat(w: World, connection: Connection): void {
  const memory = w.scheduler.nodes[connection.node];
  memory.lastContactAt = w.now;
  renewLease(w, memory);
  // Of several that are late only the first and the last make a difference.
  const late = connection.toAgent.filter(({ kind }) => kind === 'ack');
  if (late.length === 2) connection.toAgent = connection.toAgent.filter((message) => message !== late[1]);
  say(connection, { kind: 'ack', sentAt: w.now });
}

/** Once a tick. What was said before is heard before. */
export function mayBeat(w: World, { node, agentOpen, toScheduler }: Connection): boolean {
  const { leaseEndsAt, session } = w.scheduler.nodes[node];
  const isDone = leaseEndsAt === w.now + POLICY.leaseMs * MS;
  return isAwake(w, node) && agentOpen && session !== null && toScheduler.length === 0 && !isDone;
}

/** Everything an agent holds. What it should hold and does not is lost. */
function takeInventory(w: World, node: NodeId, reports: readonly Report[]): void {
  const { scheduler, setup } = w;
  const memory = scheduler.nodes[node];
  memory.stale = [];
  memory.sentStarts = [];
  memory.sentStops = [];
  memory.unanswered = [];
  for (const report of reports) takeIn(w, node, report);
  const { instance } = scheduler.records;
  const isPresent = reports.some(({ generation }) => generation === instance.generation);
  if (!isPresent && instance.node === node && mayHoldProcess(instance.status)) {
    const absence = setup.rules.judgeAbsence(recordOf(instance), memory.heardSinceConnect);
    if (absence === 'gone') takeIn(w, node, concluded(instance, 'failed', true));
  }
  if (!isPresent && instance.lingersOn === node) {
    update(w, NOT_LINGERING);
    giveBack(w);
  }
  scheduler.passDue = true;
}

/** A report that no agent sent: what the scheduler concludes of the generation it has on record. */
export function concluded({ generation, run }: Placed, status: 'failed' | 'stopped', lost: boolean): Report {
  return { generation, run, status, lost };
}

export function takeIn(w: World, node: NodeId, report: Report): void {
  const { scheduler, setup } = w;
  const memory = scheduler.nodes[node];
  const { instance } = scheduler.records;
  const { generation } = report;
  const full = instanceReportOf(report);
  const ended = hasEnded(full);
  if (ended) {
    memory.sentStops = without(memory.sentStops, generation);
    memory.stale = without(memory.stale, generation);
    if (!memory.toForget.includes(generation)) memory.toForget = [...memory.toForget, generation];
    scheduler.passDue = true;
  }
  const judgement = setup.rules.judgeReport(recordOf(instance), node, full);
  if (judgement === 'stale' && !ended && !memory.stale.includes(generation)) {
    memory.stale = [...memory.stale, generation];
    scheduler.passDue = true;
  }
  if (judgement !== 'current') return;
  memory.heardSinceConnect = true;
  update(w, takeInReport(recordOf(instance), workloadOf(w), node, full, 0, 0.5).patch);
  if (instance.node === node) giveBack(w);
}

function giveBack({ scheduler: { records } }: World): void {
  records.takenOff = without(records.takenOff, records.instance.generation);
}

/** Each copy of a start that is under way counts. */
function withoutOne(list: readonly number[], item: number): number[] {
  const at = list.indexOf(item);
  return list.filter((_, index) => index !== at);
}

export function hearAnswer(w: World, call: Call): void {
  const { scheduler } = w;
  const { node, generation, answer } = call;
  w.calls = w.calls.filter((other) => other !== call);
  const memory = scheduler.nodes[node];
  const { instance } = scheduler.records;
  const isCurrent = instance.node === node && instance.generation === generation && !isTerminal(instance.status);
  scheduler.passDue = true;
  if (call.kind === 'start') {
    memory.sentStarts = without(memory.sentStarts, generation);
    if (call.session === memory.session) memory.unanswered = withoutOne(memory.unanswered, generation);
    if (!isCurrent) return;
    if (answer === 'running') takeIn(w, node, { generation, run: 1, status: 'running', lost: false });
    else if (answer === 'refused' && instance.status !== 'stopping') {
      const status = instance.status === 'recovering' ? {} : { status: 'pending' as const };
      update(w, { ...status, node: null });
    }
    return;
  }
  if (answer === 'staleSession') memory.sentStops = without(memory.sentStops, generation);
  if (answer !== 'ended') return;
  if (isCurrent) takeIn(w, node, concluded(instance, 'stopped', false));
  else {
    memory.sentStops = without(memory.sentStops, generation);
    memory.stale = without(memory.stale, generation);
  }
}
