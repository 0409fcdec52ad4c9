/**
 * What an earlier agent of this data directory has left: live runs are taken over from their shims, exits it missed
 * are taken in, and every run of which nothing is known gets an end, so that nothing is started twice or forgotten.
 * Called once, before the port answers.
 */
import type { Logger } from 'pino';
import type { Resumption } from './generation';
import { hasEnded } from './instanceStatus';
import type { Adoption, ProcessHost } from './processHost';
import { type EndRecord, type Intent, keyOf, type Records, type StoredGeneration } from './records';
import { decideNextStep } from './runEnd';
import { Gate } from './timers';

/** Records read and written at a time. */
const WIDTH = 16;

export interface Recovered {
  ended: EndRecord[];
  resumed: Resumption[];
}

export interface RecoveryMeans {
  records: Records;
  host: ProcessHost;
  /** Where the cgroup of a generation lies; null: there is none. */
  cgroupOf(key: string): string | null;
  bootId: string;
  nowMs: number;
  log: Logger;
}

/** @returns every generation stored, once */
export async function recover({ records, host, cgroupOf, bootId, nowMs, log }: RecoveryMeans): Promise<Recovered> {
  const recovered: Recovered = { ended: [], resumed: [] };
  const left: { stored: StoredGeneration; intent: Intent }[] = [];
  const lost: StoredGeneration[] = [];
  for (const stored of await records.load()) {
    const { intent, stop, end } = stored;
    if (isSettled(stored)) recovered.ended.push(end!);
    else if (intent === null || intent.bootId !== bootId) lost.push(stored);
    else if (end?.run === intent.run && end.status === 'backoff')
      recovered.resumed.push({ intent, stop, end, adoption: null });
    else left.push({ stored, intent });
  }
  const adoptions = await host.adopt(
    left.map(({ intent: { spec, run, nonce } }) => {
      const stateDirectory = records.directoryOf(spec);
      const { graceMs } = spec.stop;
      return { key: `${keyOf(spec)}.${run}`, run, nonce, stateDirectory, cgroup: cgroupOf(keyOf(spec)), graceMs };
    }),
  );
  for (const [index, { stored, intent }] of left.entries()) {
    const adoption = knownOf(adoptions[index]!, stored);
    if (adoption === null) lost.push(stored);
    else recovered.resumed.push({ intent, stop: stored.stop, end: stored.end, adoption });
  }
  const gate = new Gate(WIDTH);
  await Promise.all(
    lost.map(async (stored) => {
      const end = endOf(stored, bootId, new Date(nowMs).toISOString());
      recovered.ended.push(end);
      await gate
        .run(() => records.saveEnd(end))
        .catch((error) => log.error({ err: error, instance: end.instanceId }, 'cannot record the end of a run'));
    }),
  );
  const { resumed } = recovered;
  if (lost.length + resumed.length > 0) {
    const running = resumed.filter(({ adoption }) => adoption?.kind === 'hosted').length;
    log.info({ running, ended: resumed.length - running, lost: lost.length }, 'took over what an earlier agent left');
  }
  return recovered;
}

function isSettled({ intent, end }: StoredGeneration): boolean {
  return end !== null && hasEnded(end.status) && (intent === null || end.run >= intent.run);
}

/** Null: nothing tells what became of the run. Of one whose exit was told before, nothing more needs to. */
function knownOf(adoption: Adoption, { intent, end }: StoredGeneration): Resumption['adoption'] {
  if (adoption.kind !== 'unknown') return adoption;
  if (end === null || end.run !== intent!.run || end.exit === null || end.pid === null) return null;
  const exit = { ...end.exit, shimLost: false, fenced: false, recorded: true, droppedBytes: 0 };
  const identity = { pid: end.pid, startTicks: 0, shimPid: 0, shimStartTicks: 0 };
  return { kind: 'ended', identity, startedAt: end.startedAt ?? end.exit.at, exit };
}

/** Pure. @param stored a generation that is not settled and of which no process is left */
export function endOf({ intent, end }: StoredGeneration, bootId: string, at: string): EndRecord {
  const rebooted = intent !== null && intent.bootId !== bootId;
  if (end !== null && (intent === null || end.run >= intent.run)) {
    // Its last run is known to have ended; of its tree nothing is left now.
    const known = { ...end, nextRunAt: null, lost: true, status: 'failed' as const };
    if (end.status === 'stopping' && end.exit !== null && intent !== null) {
      const { restart } = intent.spec;
      const { exit, ranMs, overranMs } = end;
      const context = { restart, attempts: end.attempts, endsOnFailedStart: true, stop: null };
      const next = decideNextStep(
        { kind: 'exited', exit, ranMs, overranMs, shimLost: false, fenced: false },
        context,
        0,
      );
      if (next.kind === 'end') return { ...known, status: next.status, statusReason: next.reason, lost: false };
    }
    return { ...known, statusReason: rebooted ? 'node rebooted' : 'agent restarted before its next run' };
  }
  const { spec, started, attempts, run } = intent!;
  return {
    uid: spec.uid,
    clusterId: spec.clusterId,
    slot: spec.slot,
    instanceId: spec.instanceId,
    generation: spec.generation,
    run,
    status: 'failed',
    statusReason: rebooted ? 'node rebooted' : 'agent restarted while it was being started',
    pid: null,
    shimPid: null,
    startedAt: null,
    exit: rebooted ? { code: null, signal: null, at, oomKilled: false } : null,
    ranMs: 0,
    drops: [],
    overranMs: null,
    nextRunAt: null,
    attempts,
    lost: true,
    startError: null,
    started,
  };
}
