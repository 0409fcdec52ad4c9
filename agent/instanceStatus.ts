/** The agent's state machine of a generation as data, and the number that orders its reports. */
import type { InstanceReport } from '../contract/agentApi';
import { assertTransition } from '../contract/states';

export type AgentInstanceStatus = InstanceReport['status'];

export const AGENT_TRANSITIONS: Record<AgentInstanceStatus, readonly AgentInstanceStatus[]> = {
  starting: ['running', 'stopping', 'backoff', 'failed', 'stopped'],
  running: ['stopping', 'backoff', 'completed', 'failed', 'stopped'],
  stopping: ['backoff', 'completed', 'failed', 'stopped'],
  backoff: ['starting', 'failed', 'stopped'],
  completed: [],
  failed: [],
  stopped: [],
};

const PHASES: Record<AgentInstanceStatus, number> = {
  starting: 0,
  running: 1,
  stopping: 2,
  backoff: 3,
  completed: 4,
  failed: 4,
  stopped: 4,
};

/** Only rises within a generation: with the run, and within a run with its phase. */
export function revOf(run: number, status: AgentInstanceStatus): number {
  return run * 8 + PHASES[status];
}

/** @throws Error when the table does not allow it */
export function changeStatus(from: AgentInstanceStatus, to: AgentInstanceStatus, instanceId: string): void {
  assertTransition(AGENT_TRANSITIONS, from, to, `instance ${instanceId}`);
}

export function hasEnded(status: AgentInstanceStatus): boolean {
  return PHASES[status] === 4;
}
