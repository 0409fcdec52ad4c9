/** Time goes on. */
import { verdictFrom } from './deciding';
import { checkOverlap } from './invariants';
import { hearHeartbeat } from './observing';
import { acknowledge, startUntil } from './session';
import { isSteady, isTick, type Step } from './step';
import { connectionOf } from './telling';
import { MS, TICK } from './time';
import { NODES, type ToAgent, type World } from './world';

/** @returns null: whatever happens from here on does not depend on time */
export function timeStep(w: World): Step | null {
  const next = nextMoment(w);
  if (next === null) return null;
  return {
    name: `time goes on by ${(next - w.now) / MS} ms`,
    act: (world) => {
      checkOverlap(world);
      world.now = next;
      if (isTick(world)) beatSteadily(world);
    },
  };
}

/** A steady node is always heard, and always hears that it is. */
function beatSteadily(w: World): void {
  for (const node of NODES) {
    const connection = connectionOf(w, node);
    if (!isSteady(w, node) || connection === undefined || w.scheduler.stalled) continue;
    hearHeartbeat(w, connection);
    const ack = connection.toAgent.at(-1) as ToAgent & { kind: 'ack' };
    connection.toAgent = connection.toAgent.slice(0, -1);
    acknowledge(w, connection, ack.sentAt);
  }
}

/** The next tick, or the next time before it at which anything is due, or over. */
function nextMoment(w: World): number | null {
  const { scheduler, machines } = w;
  const moments: number[] = [];
  if (scheduler.up) {
    for (const node of NODES) {
      const { known, lost } = scheduler.records.nodes[node];
      if (known && !lost && !isSteady(w, node)) moments.push(verdictFrom(scheduler.nodes[node]));
    }
    if (scheduler.fenceEndsAt !== null) moments.push(scheduler.fenceEndsAt);
  }
  for (const node of NODES) {
    const { page, copies, agent } = machines[node];
    for (const { gone, looksAt, goneBy } of copies) if (!gone) moments.push(looksAt ?? 0, goneBy ?? 0);
    if (isSteady(w, node)) continue;
    moments.push(page.endsAt);
    if (agent.latest !== null) moments.push(startUntil(w, node));
    for (const known of agent.known) moments.push(known.startUntil);
  }
  const ahead = moments.filter((at) => at > w.now);
  if (ahead.length === 0) return isTick(w) ? null : nextTick(w);
  return Math.min(...ahead, nextTick(w));
}

function nextTick({ now }: World): number {
  return (Math.floor(now / TICK) + 1) * TICK;
}
