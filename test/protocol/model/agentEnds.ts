/** How an agent ends, and what the next one of its data directory finds: agent/recovery.ts. */
import { closeAtAgent } from './session';
import { isAlive, stopCopy } from './shim';
import type { Known, NodeId, World } from './world';

/** What is recorded stays; who is connected or waits for an answer does not. */
export function crash(w: World, node: NodeId): void {
  const { agent } = w.machines[node];
  agent.up = false;
  agent.stalled = false;
  agent.latest = null;
  agent.isPresent = false;
  agent.sentAt = 0;
  for (const connection of w.connections) if (connection.node === node) closeAtAgent(w, connection);
  w.connections = w.connections.filter(({ schedulerOpen, agentOpen }) => schedulerOpen || agentOpen);
  w.calls = w.calls.filter((call) => call.node !== node || call.state !== 'held' || call.awaited);
  agent.known = agent.known.filter(({ stage }) => stage !== 'admitted');
}

/** Its data directory is gone as well; shims go on with the page that they have mapped. */
export function wipe(w: World, node: NodeId): void {
  crash(w, node);
  const machine = w.machines[node];
  for (const copy of machine.copies) copy.ownPage ??= machine.page;
  machine.page = { endsAt: 0, term: 0 };
  machine.agent.known = [];
  machine.agent.epoch = 0;
  machine.agent.key += 1;
}

const UNKNOWN_GRACE_MS = 3_000;

/** It takes over what it finds on record. What nobody knows any more is stopped first. */
export function restart(w: World, node: NodeId): void {
  const machine = w.machines[node];
  const { agent } = machine;
  machine.copies = machine.copies.filter((copy) => isAlive(copy) || isKnown(agent.known, copy));
  const unknown = machine.copies.filter((copy) => !isKnown(agent.known, copy));
  for (const copy of unknown) stopCopy(w, node, copy, UNKNOWN_GRACE_MS);
  if (unknown.length > 0) return;
  agent.up = true;
  // A run on record of which nothing tells is never executed again.
  for (const known of agent.known) {
    if (known.stage === 'cleared') Object.assign(known, { stage: 'ended', status: 'failed', lost: true });
  }
}

export function mayRestart(w: World, node: NodeId): boolean {
  const { agent, copies, frozen } = w.machines[node];
  const isWaiting = copies.some((copy) => isAlive(copy) && !isKnown(agent.known, copy) && copy.goneBy !== null);
  return !agent.up && !frozen && !isWaiting && !(w.setup.alone && node === 'B');
}

function isKnown(known: readonly Known[], { generation, run }: { generation: number; run: number }): boolean {
  return known.some((other) => other.generation === generation && other.run === run && other.stage === 'hosted');
}
