/**
 * The agent: what agent/events.ts, supervisor.ts and generation.ts do with what comes over the network, and of themselves.
 * An agent may be as slow as it likes, or stand still, at any point between two steps.
 */
import { hasEnded } from '../../../agent/instanceStatus';
import { decideNextStep } from '../../../agent/runEnd';
import type { Restart } from '../../../contract/workload';
import { acknowledge, beginSession, closeAtAgent, mayExecute, sessionOf, startUntil } from './session';
import { execute, findCopy, isAlive, stopCopy } from './shim';
import { isAwake, type Step } from './step';
import {
  type Answer,
  type Call,
  type Connection,
  type Known,
  NODES,
  type NodeId,
  type Report,
  type ToAgent,
  type World,
} from './world';

const ALWAYS: Restart = { policy: 'always', attempts: 0, backoffMs: 0, maxBackoffMs: 0, resetAfterMs: 60_000 };

export function reportOf({ generation, run, status, lost }: Known): Report {
  return { generation, run, status, lost };
}

function change(w: World, node: NodeId, known: Known, to: Partial<Known>): void {
  Object.assign(known, to);
  for (const connection of w.connections) {
    if (connection.node !== node || !connection.agentOpen || !connection.schedulerOpen) continue;
    connection.toScheduler = [...connection.toScheduler, { kind: 'report', report: reportOf(known) }];
  }
}

function endGeneration(
  w: World,
  node: NodeId,
  known: Known,
  status: 'stopped' | 'failed' | 'completed',
  lost: boolean,
): void {
  change(w, node, known, { stage: 'ended', status, lost, stopAsked: false });
  answerHeld(w, node, known.generation, lost ? 'staleSession' : 'refused');
}

function answerHeld(w: World, node: NodeId, generation: number, answer: Answer): void {
  for (const call of w.calls) {
    if (call.node === node && call.state === 'held' && call.generation === generation) answerCall(w, call, answer);
  }
}

function answerCall(w: World, call: Call, answer: Answer): void {
  call.state = 'answered';
  call.answer = answer;
  call.isLate = false;
  if (!call.awaited) w.calls = w.calls.filter((other) => other !== call);
}

function take(w: World, connection: Connection): void {
  const [message] = connection.toAgent as [ToAgent];
  connection.toAgent = connection.toAgent.slice(1);
  const { agent } = w.machines[connection.node];
  switch (message.kind) {
    case 'session':
      beginSession(w, connection, message);
      break;
    case 'ack':
      acknowledge(w, connection, message.sentAt);
      break;
    case 'forget':
      agent.known = agent.known.filter(
        ({ generation, status }) => !message.generations.includes(generation) || !hasEnded(status),
      );
      break;
  }
}

function takeCall(w: World, call: Call): void {
  const { agent } = w.machines[call.node];
  call.state = 'held';
  if (call.epoch < agent.epoch) answerCall(w, call, 'refused');
  else if (call.kind === 'start') takeStart(w, call);
  else takeStop(w, call);
}

function takeStart(w: World, call: Call): void {
  const { node, generation, epoch, session: number } = call;
  const { agent, page } = w.machines[node];
  const { rules } = w.setup;
  const session = sessionOf(w, node);
  if (session.refusalOfStart({ clusterId: 'c', epoch, session: number }) !== null) {
    answerCall(w, call, 'staleSession');
    return;
  }
  const same = agent.known.find((known) => known.generation === generation);
  if (same !== undefined && rules.startsOnce) {
    if (same.started) answerCall(w, call, 'running');
    else if (same.stage === 'ended') answerCall(w, call, 'refused');
    return;
  }
  const latest = Math.max(0, ...agent.known.map((known) => known.generation));
  if (latest > generation && rules.refusesPastGenerations) {
    answerCall(w, call, 'refused');
    return;
  }
  // A later one begins when the trees of those before are gone.
  for (const before of agent.known) if (before.generation < generation) askToStop(w, node, before);
  agent.known.push({
    generation,
    run: 0,
    stage: 'admitted',
    status: 'starting',
    lost: false,
    started: false,
    stopAsked: false,
    session: agent.latest?.connection ?? null,
    leaseTerm: page.term,
    startUntil: 0,
  });
}

function takeStop(w: World, call: Call): void {
  const { node, generation, epoch, session: number } = call;
  const { agent } = w.machines[node];
  if (sessionOf(w, node).refusalOfStop({ epoch, session: number }) !== null) {
    answerCall(w, call, 'staleSession');
    return;
  }
  const latest = Math.max(0, ...agent.known.map((known) => known.generation));
  const known = agent.known.find((other) => other.generation === generation);
  if (known !== undefined && latest === generation) {
    if (known.stage === 'ended') answerCall(w, call, 'ended');
    else {
      askToStop(w, node, known);
      answerCall(w, call, 'begun');
    }
    return;
  }
  if (latest < generation) bury(w, node, generation);
  answerCall(w, call, 'ended');
}

/** Of a session that is over, and can never be the present one again: whenever they come, nothing is done. */
export function dropDeadCalls(w: World): void {
  w.calls = w.calls.filter(({ state, node, epoch, session }) => {
    if (state !== 'coming' || sessionOf(w, node).refusalOfStop({ epoch, session }) === null) return true;
    return w.connections.some(
      (connection) =>
        connection.node === node &&
        connection.epoch === epoch &&
        connection.toAgent.some((message) => message.kind === 'session' && message.session === session),
    );
  });
}

/** A start that is still on its way is refused when it comes. */
function bury(w: World, node: NodeId, generation: number): void {
  const { agent, page } = w.machines[node];
  for (const before of agent.known) askToStop(w, node, before);
  if (!w.setup.rules.leavesTombstones) return;
  const tombstone: Known = {
    generation,
    run: 0,
    stage: 'ended',
    status: 'stopped',
    lost: false,
    started: false,
    stopAsked: false,
    session: null,
    leaseTerm: page.term,
    startUntil: 0,
  };
  agent.known.push(tombstone);
  change(w, node, tombstone, {});
}

function askToStop(w: World, node: NodeId, known: Known): void {
  if (known.stage === 'admitted' || known.stage === 'waiting') {
    endGeneration(w, node, known, 'stopped', false);
  } else if (known.stage !== 'ended') {
    known.stopAsked = true;
    const copy = findCopy(w, node, known.generation, known.run);
    if (copy !== undefined && isAlive(copy)) stopCopy(w, node, copy, w.setup.graceMs);
  }
}

/** The next run is recorded; then it is asked whether it may be executed. */
function clear(w: World, node: NodeId, known: Known): void {
  known.run += 1;
  known.status = 'starting';
  if (!mayExecute(w, node, known)) {
    endGeneration(w, node, known, 'stopped', true);
    return;
  }
  known.stage = 'cleared';
  if (known.run === 1) known.startUntil = startUntil(w, node);
}

function executeRun(w: World, node: NodeId, known: Known): void {
  const isStarted = execute(w, node, known);
  known.startUntil = 0;
  if (!isStarted) {
    endGeneration(w, node, known, 'stopped', true);
    return;
  }
  change(w, node, known, { stage: 'hosted', status: 'running', started: true });
  answerHeld(w, node, known.generation, 'running');
  if (known.stopAsked) askToStop(w, node, known);
}

/** Its shim has the end on record, and what follows is the policy's. */
function takeEnd(w: World, node: NodeId, known: Known): void {
  const machine = w.machines[node];
  const copy = findCopy(w, node, known.generation, known.run)!;
  machine.copies = machine.copies.filter((other) => other !== copy);
  const next = decideNextStep(
    {
      kind: 'exited',
      exit: { code: 1, signal: null, at: '', oomKilled: false },
      ranMs: 0,
      overranMs: null,
      shimLost: false,
      fenced: copy.fenced,
    },
    {
      restart: ALWAYS,
      attempts: 1,
      endsOnFailedStart: true,
      stop: known.stopAsked ? { cause: 'request', beforeEnd: true } : null,
    },
    0.5,
  );
  if (next.kind === 'restart') known.stage = 'waiting';
  else endGeneration(w, node, known, next.status, next.lost);
  if (next.kind === 'restart') known.status = 'backoff';
}

/** What comes over the network. */
export function hearingSteps(w: World): Step[] {
  return NODES.flatMap((node) => {
    if (!isAwake(w, node) || w.machines[node].cut) return [];
    return [...connectionSteps(w, node), ...callSteps(w, node)];
  });
}

/** What it does of itself, each in its turn. */
export function doingSteps(w: World): Step[] {
  return NODES.flatMap((node) => (isAwake(w, node) ? generationSteps(w, node) : []));
}

function connectionSteps(w: World, node: NodeId): Step[] {
  const steps: Step[] = [];
  for (const [index, connection] of w.connections.entries()) {
    if (connection.node !== node || !connection.agentOpen) continue;
    const { id, toAgent, schedulerOpen } = connection;
    const [first] = toAgent;
    if (first !== undefined) {
      steps.push({
        name: `${node} hears on connection ${id}: ${first.kind}`,
        node,
        isDue: !first.isLate,
        act: (next) => take(next, next.connections[index]!),
      });
    }
    if (!schedulerOpen) {
      steps.push({
        name: `${node} sees the end of connection ${id}`,
        node,
        isDue: first === undefined && !connection.isEndLate,
        act: (next) => {
          closeAtAgent(next, next.connections[index]!);
          next.connections = next.connections.filter((other) => other.id !== id);
        },
      });
    }
  }
  return steps;
}

function callSteps(w: World, node: NodeId): Step[] {
  return w.calls.flatMap((call, index) => {
    if (call.node !== node || call.state !== 'coming') return [];
    const { kind, generation, epoch, session } = call;
    const name = `${node} takes the ${kind} of generation ${generation} (epoch ${epoch}, session ${session})`;
    return [{ name, node, isDue: !call.isLate, act: (next: World) => takeCall(next, next.calls[index]!) }];
  });
}

function generationSteps(w: World, node: NodeId): Step[] {
  const { agent } = w.machines[node];
  return agent.known.flatMap((known, index) => {
    const next = nextOf(w, node, known);
    if (next === null) return [];
    const act = (world: World) => next.act(world, node, world.machines[node].agent.known[index]!);
    return [{ name: `${node} ${next.what}`, node, isDue: true, act }];
  });
}

/** What an agent does next about a generation of itself. */
function nextOf(
  w: World,
  node: NodeId,
  { generation, run, stage }: Known,
): { what: string; act(w: World, node: NodeId, known: Known): void } | null {
  switch (stage) {
    case 'admitted':
    case 'waiting': {
      const { known } = w.machines[node].agent;
      const isBlocked = known.some((other) => other.generation < generation && other.stage !== 'ended');
      if (isBlocked) return null;
      return { what: `records run ${generation}.${run + 1}, and asks whether it may be executed`, act: clear };
    }
    case 'cleared':
      return { what: `executes ${generation}.${run}`, act: executeRun };
    case 'hosted':
      if (findCopy(w, node, generation, run)?.gone !== true) return null;
      return { what: `takes in the end of ${generation}.${run}`, act: takeEnd };
    case 'ended':
      return null;
  }
}
