/** What must hold at every moment. Each check notes the first thing that is wrong in the world's history. */
import { executingCopies, isAlive } from './shim';
import { type Copy, failed, NODES, type NodeId, type World } from './world';

/** Before time goes on: who lives now, lives until the next moment. */
export function checkOverlap(w: World): void {
  const living = executingCopies(w);
  const newest = Math.max(0, ...living.map(({ copy }) => copy.generation));
  for (const { node, copy } of living) {
    if (copy.generation === newest || isExcused(w, node, copy)) continue;
    failed(w, `generations ${copy.generation} and ${newest} live at once`);
  }
}

function isExcused(w: World, node: NodeId, copy: Copy): boolean {
  if (w.setup.onDisconnect !== 'replace') {
    // Its machine stood still beyond the end of its lease; its shim has seen that, and kills it.
    return (copy.overslept && copy.looksAt === null) || w.history.nodeGone;
  }
  // Its node is not heard, or just heard again, or it is being stopped there.
  const { session, stale, connection } = w.scheduler.nodes[node];
  if (session === null || copy.goneBy !== null || stale.includes(copy.generation)) return true;
  const told = w.connections.find(({ id }) => id === connection)?.toScheduler ?? [];
  return told.some((message) => message.kind === 'report' && message.report.generation === copy.generation);
}

/** When it is durable that the instance is stopped, its user has been told so. */
export function checkConfirmedStop(w: World): void {
  const { goal, instance } = w.scheduler.stored;
  if (goal !== 'stop' || instance.status !== 'stopped' || w.history.nodeGone) return;
  for (const node of NODES) {
    const { frozen, copies } = w.machines[node];
    for (const copy of copies.filter(isAlive)) {
      const isCovered = w.setup.onDisconnect !== 'replace' || copy.generation === instance.generation;
      // What stands still with its machine is killed as soon as that goes on.
      const isExcepted = frozen || copy.overslept;
      if (isCovered && !isExcepted) failed(w, `generation ${copy.generation} lives though its stop was confirmed`);
    }
  }
}
