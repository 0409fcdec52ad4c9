/** One thing that can happen now. Steps are told apart by their names, which are what a trace shows. */
import { TICK } from './time';
import type { Fault, NodeId, World } from './world';

export interface Step {
  name: string;
  /** On which node it happens, where it is one's own doing. */
  node?: NodeId;
  /** A fault or an act of a user: it may happen so often only, and not any more once all is calm. */
  fault?: Fault;
  /** It happens before time goes on. */
  isDue?: boolean;
  /** @param w a copy of the world it was made for, to be changed */
  act(w: World): void;
}

export function isTick({ now }: World): boolean {
  return now % TICK === 0;
}

export function isSteady(w: World, node: NodeId): boolean {
  return w.setup.steady === node;
}

/** The agent does something now, if it has anything to do. */
export function isAwake(w: World, node: NodeId): boolean {
  const { agent, frozen } = w.machines[node];
  return agent.up && !agent.stalled && !frozen;
}

/** The scheduler does something now, if it has anything to do. */
export function isSchedulerAwake({ scheduler }: World): boolean {
  return scheduler.up && !scheduler.stalled;
}
