/**
 * The real state, control loop and service, on a store in memory unless another is given, with played agents for nodes. What NodeRegistry makes of
 * connections and verdicts is done here by hand, in its order.
 */
import { pino } from 'pino';
import type { MorchEvent } from '../../contract/events';
import { BlackBox } from '../../scheduler/blackBox/blackBox';
import { ControlLoop } from '../../scheduler/controlLoop';
import { HEALTH_PROFILES } from '../../scheduler/core/healthPolicy';
import type { NodeRecord } from '../../scheduler/core/model';
import { Journal } from '../../scheduler/journal';
import { NodeRegistry } from '../../scheduler/nodeRegistry';
import { Secrets } from '../../scheduler/secrets/secrets';
import { Service } from '../../scheduler/service';
import { State } from '../../scheduler/state';
import { openMemoryStore } from '../../scheduler/store/memory';
import type { Store } from '../../scheduler/store/store';
import { OwnWires } from '../../scheduler/wires/wires';
import { OPEN_VAULT, openAccess, PROOFS } from './openAccess';
import { PlayedAgent } from './playedAgent';

const log = pino({ level: 'silent' });

export const NODE_CPU_MILLIS = 4_000;
const LEASE_MS = 10_000;

export class PlayedCluster {
  readonly agents = new Map<string, PlayedAgent>();
  readonly starts: { generation: string; where: string }[] = [];
  /** As followers are told of them. */
  readonly events: MorchEvent[] = [];

  private constructor(
    readonly state: State,
    readonly loop: ControlLoop,
    readonly service: Service,
    private readonly journal: Journal,
  ) {}

  /** @param random see PlayedAgent */
  static async make(
    nodeIds: readonly string[],
    random: () => number,
    store: Store = openMemoryStore(),
  ): Promise<PlayedCluster> {
    const state = await State.load(store, 'cluster', PROOFS);
    const journal: Journal = new Journal(
      store,
      state,
      (events) => cluster.events.push(...events),
      log,
      () => loop.wake(),
    );
    const connected = (id: string): PlayedAgent | null => {
      const agent = cluster.agents.get(id);
      return agent?.connected ? agent : null;
    };
    const links = {
      senderOf: connected,
      isAcknowledged: (id: string) => cluster.agents.get(id)!.acknowledged,
      forget: (id: string, keys: Parameters<PlayedAgent['forget']>[0]) => connected(id)?.forget(keys),
    };
    const blackBox = await BlackBox.load(store, state, journal, log);
    const secrets = await Secrets.load(store, state, OPEN_VAULT);
    const loop: ControlLoop = new ControlLoop(state, journal, links as never, LEASE_MS, blackBox, secrets, log);
    const registry = new NodeRegistry(
      state,
      HEALTH_PROFILES.default,
      LEASE_MS,
      blackBox,
      openAccess(),
      new OwnWires(),
      log,
    );
    const service = new Service(state, journal, loop, registry, blackBox, secrets, { unwritable: null }, store, 0);
    const cluster: PlayedCluster = new PlayedCluster(state, loop, service, journal);
    for (const id of nodeIds) {
      const node = aNode(id);
      state.addNode(node);
      state.runtimeOf(id).session = 1;
      state.changedNodes.add(id);
      cluster.agents.set(id, new PlayedAgent(node, random, (report) => loop.takeIn(id, report), cluster.starts));
    }
    return cluster;
  }

  /** The connection breaks, for whatever reason. */
  cutOff(agent: PlayedAgent): void {
    if (this.state.runtimeOf(agent.node.id).session === null) return;
    agent.connected = false;
    this.state.runtimeOf(agent.node.id).session = null;
    this.state.setNodeStatus(agent.node, 'suspect', null);
  }

  kill(agent: PlayedAgent): void {
    this.cutOff(agent);
    agent.die();
  }

  verdict(agent: PlayedAgent): void {
    const at = new Date().toISOString();
    this.state.setNodeStatus(agent.node, 'lost', null);
    this.loop.nodeLost(agent.node, { lastContactAt: at, suspectAt: null, verdictAt: at });
  }

  /** A new agent, which knows nothing of the one before, takes the name over from a node that is not heard. */
  takeOver(agent: PlayedAgent, nodeKey: string): void {
    agent.loseEverything();
    agent.node.nodeKey = nodeKey;
    this.loop.nodeGone(agent.node, 'another agent is its node now');
  }

  /** The connection is there again, with an agent started anew if it was dead. */
  bringBack(agent: PlayedAgent): void {
    if (agent.connected) return;
    if (agent.dead) agent.rise();
    agent.connected = true;
    const runtime = this.state.runtimeOf(agent.node.id);
    runtime.session = 1;
    runtime.leaving = false;
    this.loop.takeInventory(agent.node.id, agent.inventory(), performance.now());
    this.state.setNodeStatus(agent.node, 'healthy', null);
    this.loop.wake();
  }

  /** Generations that were started more than once. There must be none. */
  startedTwice(): string[] {
    const first = new Map<string, string>();
    return this.starts.flatMap(({ generation, where }) => {
      const before = first.get(generation);
      first.set(generation, where);
      return before === undefined ? [] : [`${generation} on ${before} and ${where}`];
    });
  }

  async close(): Promise<void> {
    this.loop.close();
    await this.journal.close();
  }
}

function aNode(id: string): NodeRecord {
  return {
    id,
    host: '127.0.0.1',
    port: 1,
    nodeKey: id,
    agentLabels: {},
    givenLabels: {},
    capacity: { cpuMillis: NODE_CPU_MILLIS, memoryBytes: 2 ** 30 },
    features: ['secrets'],
    version: '0',
    incarnation: id,
    cordoned: false,
    drain: null,
    status: 'healthy',
    statusReason: null,
    lastContactAt: null,
  };
}
