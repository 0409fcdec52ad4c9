/** The scheduler tells agents: outbox.ts and nodeLink.ts. */
import { awaitsStart } from '../../../scheduler/outbox';
import { recordOf } from './records';
import type { Call, Connection, NodeId, NodeMemory, ToAgent, World } from './world';

/** The agent may drop the records of what has ended, unless a start of it may still arrive. */
export function forgetEnded(w: World, node: NodeId): void {
  const memory = w.scheduler.nodes[node];
  const isKept = (generation: number) => w.setup.rules.keepsTombstones && memory.unanswered.includes(generation);
  const generations = memory.toForget.filter((generation) => !isKept(generation));
  memory.toForget = memory.toForget.filter(isKept);
  if (generations.length === 0) return;
  const connection = connectionOf(w, node);
  if (connection !== undefined) say(connection, { kind: 'forget', generations });
}

/** Sends what the node is to be told, unless that is under way. */
export function offer(w: World, node: NodeId): void {
  const { scheduler } = w;
  const memory = scheduler.nodes[node];
  const { instance, nodes } = scheduler.records;
  if (memory.session === null || nodes[node].lost) return;
  const { generation } = instance;
  if (instance.node === node) {
    if (awaitsStart(recordOf(instance)) && !memory.sentStarts.includes(generation)) {
      memory.sentStarts = [...memory.sentStarts, generation];
      memory.unanswered = [...memory.unanswered, generation];
      send(w, 'start', node, generation);
    }
    if (instance.status === 'stopping' && scheduler.records.goal === 'stop') sendStop(w, node, generation);
  }
  for (const stale of memory.stale) sendStop(w, node, stale);
}

function sendStop(w: World, node: NodeId, generation: number): void {
  const memory = w.scheduler.nodes[node];
  if (memory.sentStops.includes(generation)) return;
  memory.sentStops = [...memory.sentStops, generation];
  send(w, 'stop', node, generation);
}

function send(w: World, kind: Call['kind'], node: NodeId, generation: number): void {
  const { epoch, nodes } = w.scheduler;
  const session = nodes[node].session!;
  w.calls.push({ kind, node, epoch, session, generation, state: 'coming', answer: null, awaited: true, isLate: false });
}

export function say(connection: Connection, message: ToAgent): void {
  connection.toAgent = [...connection.toAgent, message];
}

export function connectionOf(w: World, node: NodeId): Connection | undefined {
  const { connection } = w.scheduler.nodes[node];
  return w.connections.find(({ id }) => id === connection);
}

/** The scheduler's end. */
export function dropConnection(w: World, node: NodeId): void {
  const connection = connectionOf(w, node);
  const memory = w.scheduler.nodes[node];
  memory.connection = null;
  memory.session = null;
  if (connection === undefined) return;
  connection.schedulerOpen = false;
  connection.toScheduler = [];
  if (!connection.agentOpen) w.connections = w.connections.filter((other) => other !== connection);
}

export function dropQueue(memory: NodeMemory): void {
  memory.sentStarts = [];
  memory.sentStops = [];
  memory.unanswered = [];
}
