/**
 * All that there is in the model at one moment: a scheduler, two machines with an agent, a lease page and the copies of one
 * instance on each, and what is under way between them. Plain data; the rules that change it stand in the files beside.
 */
import type { AgentInstanceStatus } from '../../../agent/instanceStatus';
import type { OnDisconnect } from '../../../contract/workload';
import type { InstanceRecord } from '../../../scheduler/core/model';
import type { Rules } from './rules';
import type { Pace } from './time';

export const NODES = ['A', 'B'] as const;
export type NodeId = (typeof NODES)[number];

/** What can go wrong, and what users can do, by what it is called in a plan. */
export const FAULTS = {
  cut: 'nothing passes between a node and the scheduler, until it does again',
  late: 'one message, command or answer is late, and whatever is sent behind it',
  break: 'a connection ends though both its ends live',
  abandon: 'the scheduler waits no longer for the answer to a command, and says it again',
  agentStall: 'an agent stands still, and goes on',
  agentCrash: 'an agent is killed, and started again',
  wipe: 'an agent is killed, its state is deleted, and it is started again',
  freeze: 'a machine stands still with all that is on it, and goes on',
  schedulerStall: 'the scheduler stands still, and goes on',
  schedulerCrash: 'the scheduler is killed, and started again',
  exit: 'the program ends by itself',
  stop: 'a user stops the workload',
  forget: 'a user has a node forgotten',
} as const;
export type Fault = keyof typeof FAULTS;

/** What does not change in a search. */
export interface Setup {
  /** What may happen. */
  faults: ReadonlySet<Fault>;
  onDisconnect: OnDisconnect;
  graceMs: number;
  paces: Record<NodeId, Pace>;
  /** Nothing happens to this node; what it can do it does at once. */
  steady: NodeId | null;
  /** There is no node B. */
  alone: boolean;
  /**
   * all: whatever is due at a moment happens in every order; one: in one order, unless something is late or stands still.
   */
  orders: 'all' | 'one';
  generationsAtMost: number;
  runsAtMost: number;
  rules: Rules;
}

export interface World {
  setup: Setup;
  now: number;
  scheduler: Scheduler;
  machines: Record<NodeId, Machine>;
  connections: Connection[];
  connectionsMade: number;
  calls: Call[];
  /** How often something may still happen. */
  faultsLeft: number;
  history: History;
}

// ---- the scheduler

/** What the rules of the protocol read and write of an instance's record. */
export type Placed = Pick<
  InstanceRecord,
  'generation' | 'run' | 'rev' | 'status' | 'lingersOn' | 'onDisconnect' | 'fenced'
> & { node: NodeId | null; lingersOn: NodeId | null };

export interface Records {
  goal: 'run' | 'stop';
  instance: Placed;
  nodes: Record<NodeId, { known: boolean; key: number; lost: boolean }>;
  /** For the checks: generations taken off their node, and not given back to it. */
  takenOff: readonly number[];
}

export interface Scheduler {
  up: boolean;
  stalled: boolean;
  epoch: number;
  lastSession: number;
  /** Durable. */
  stored: Records;
  /** What it goes by; as stored, once a pass has been made. */
  records: Records;
  /** Something was heard or decided: it is to be made durable, then acted upon. */
  passDue: boolean;
  fenceEndsAt: number | null;
  nodes: Record<NodeId, NodeMemory>;
}

/** What a scheduler knows of a node only while it runs: NodeLink, NodeRuntime and the outbox's queue. */
export interface NodeMemory {
  connection: number | null;
  session: number | null;
  /** Nothing before this moment counts against the node. */
  lastContactAt: number;
  leaseEndsAt: number;
  stale: readonly number[];
  sentStarts: readonly number[];
  sentStops: readonly number[];
  /** Generations whose start was sent in this session and not answered. */
  unanswered: readonly number[];
  toForget: readonly number[];
  /** The instance was heard of there since the present connection was begun. */
  heardSinceConnect: boolean;
}

// ---- a machine

export interface Machine {
  frozen: boolean;
  /** From the network. */
  cut: boolean;
  agent: Agent;
  /** The lease page: it stays when the agent ends. */
  page: Readonly<{ endsAt: number; term: number }>;
  copies: Copy[];
}

export interface Agent {
  up: boolean;
  stalled: boolean;
  key: number;
  epoch: number;
  /** Of the latest session begun by this start of the agent. */
  latest: { epoch: number; session: number; connection: number } | null;
  /** The connection of the latest session is there. */
  isPresent: boolean;
  /** When the last heartbeat was sent that has been acknowledged in it. */
  sentAt: number;
  known: Known[];
}

/**
 * What an agent knows of a generation. admitted: let in, nothing recorded; cleared: its run is recorded and may be
 * executed; hosted: under its shim; waiting: for its next run.
 */
export interface Known {
  generation: number;
  run: number;
  stage: 'admitted' | 'cleared' | 'hosted' | 'waiting' | 'ended';
  status: AgentInstanceStatus;
  lost: boolean;
  started: boolean;
  stopAsked: boolean;
  /** The connection of the session that it was let in under. */
  session: number | null;
  leaseTerm: number;
  /** Of a first run that is cleared: it is not to be executed later. */
  startUntil: number;
}

/** A tree of processes under its shim. */
export interface Copy {
  generation: number;
  run: number;
  leaseTerm: number;
  /** Another page than the agent's: that of an agent whose state was deleted, which nobody renews. */
  ownPage: Readonly<{ endsAt: number; term: number }> | null;
  /** When the shim looks at the page; null: it has decided, or does not look. */
  looksAt: number | null;
  /** By then nothing of it is alive; null: it is not being stopped. */
  goneBy: number | null;
  fenced: boolean;
  /** It stood still, with its machine, beyond the end of its lease. */
  overslept: boolean;
  /** It has ended, and its shim has that on record. */
  gone: boolean;
}

// ---- between them

/** Messages are taken in the order in which they were sent. */
export interface Connection {
  id: number;
  node: NodeId;
  epoch: number;
  /** Whether each end holds it still. What was sent to an end that does is still taken. */
  schedulerOpen: boolean;
  agentOpen: boolean;
  toScheduler: readonly (ToScheduler & Late)[];
  toAgent: readonly (ToAgent & Late)[];
  /** It is seen late that the other end is gone. */
  isEndLate: boolean;
}

interface Late {
  isLate?: boolean;
}

export interface Report {
  generation: number;
  run: number;
  status: AgentInstanceStatus;
  lost: boolean;
}

export type ToScheduler = { kind: 'hello'; sentAt: number; reports: Report[] } | { kind: 'report'; report: Report };

/** `sentAt` stands for the number of the heartbeat, of which the agent knows when it was sent. */
export type ToAgent =
  | { kind: 'session'; session: number; sentAt: number }
  | { kind: 'ack'; sentAt: number }
  | { kind: 'forget'; generations: number[] };

/** A command, each over a connection of its own: it may be late, and overtake others. */
export interface Call {
  kind: 'start' | 'stop';
  node: NodeId;
  epoch: number;
  session: number;
  generation: number;
  /** coming: to the agent; held: by the agent, until there is an answer; answered: it is on its way back. */
  state: 'coming' | 'held' | 'answered';
  answer: Answer | null;
  /** The scheduler still waits for the answer. */
  awaited: boolean;
  isLate: boolean;
}

/** `ended`: of a stop, it is not there or has ended; `refused`: of a start, it is not executed there. */
export type Answer = 'running' | 'begun' | 'ended' | 'refused' | 'staleSession';

// ---- what the checks remember

export interface History {
  /** `generation.run`, as executed. */
  executed: readonly string[];
  /** Where each generation was placed. */
  places: Readonly<Record<number, NodeId>>;
  /** A node was forgotten or taken over: what was promised of unfenced copies on it holds no longer. */
  nodeGone: boolean;
  /** The first thing that must never happen. */
  wrong: string | null;
}

/** Shares what is never changed in place: lists and messages, pages, and what is stored. */
export function copyOf(w: World): World {
  const { scheduler, machines } = w;
  return {
    setup: w.setup,
    now: w.now,
    scheduler: {
      ...scheduler,
      records: recordsCopy(scheduler.records),
      nodes: { A: { ...scheduler.nodes.A }, B: { ...scheduler.nodes.B } },
    },
    machines: { A: machineCopy(machines.A), B: machineCopy(machines.B) },
    connections: w.connections.map((connection) => ({ ...connection })),
    connectionsMade: w.connectionsMade,
    calls: w.calls.map((call) => ({ ...call })),
    faultsLeft: w.faultsLeft,
    history: { ...w.history },
  };
}

export function recordsCopy({ goal, instance, nodes, takenOff }: Records): Records {
  return { goal, instance: { ...instance }, nodes: { A: { ...nodes.A }, B: { ...nodes.B } }, takenOff };
}

function machineCopy({ frozen, cut, agent, page, copies }: Machine): Machine {
  return {
    frozen,
    cut,
    agent: { ...agent, known: agent.known.map((known) => ({ ...known })) },
    page,
    copies: copies.map((copy) => ({ ...copy })),
  };
}

export function failed(w: World, what: string): void {
  w.history.wrong ??= what;
}

export function without<T>(list: readonly T[], item: T): T[] {
  return list.filter((other) => other !== item);
}
