/**
 * What an earlier agent of this data directory left when it ended without stopping its work: its processes are
 * killed, and every run whose end is not recorded gets one, so that nothing is started twice or forgotten.
 * Called once, before the port answers.
 */
import type { Logger } from 'pino';
import { hasEnded } from './instanceStatus';
import type { ProcessHost } from './processHost';
import type { EndRecord, Records, StoredGeneration } from './records';
import { decideNextStep } from './runEnd';
import { Gate } from './timers';

/** Records read and written at a time. */
const WIDTH = 16;

/** @returns one end for every generation stored */
export async function recover(
  records: Records,
  host: ProcessHost,
  { bootId, nowMs, log }: { bootId: string; nowMs: number; log: Logger },
): Promise<EndRecord[]> {
  const stored = await records.load();
  const open = stored.filter((one) => !isSettled(one));
  await host.killLeftovers(
    open.flatMap(({ intent, run }) => {
      if (intent === null || intent.bootId !== bootId) return [];
      return [{ nonce: intent.nonce, identity: run?.run === intent.run ? run : null }];
    }),
  );
  const gate = new Gate(WIDTH);
  await Promise.all(
    open.map(async (one) => {
      one.end = endOf(one, bootId, new Date(nowMs).toISOString());
      const { end } = one;
      await gate
        .run(() => records.saveEnd(end))
        .catch((error) => {
          log.error({ err: error, instance: end.instanceId }, 'cannot record the end of a run');
        });
    }),
  );
  if (open.length > 0)
    log.warn({ instances: open.length }, 'an earlier agent left instances; their processes are gone');
  return stored.map(({ end }) => end!);
}

function isSettled({ intent, end }: StoredGeneration): boolean {
  return end !== null && hasEnded(end.status) && (intent === null || end.run >= intent.run);
}

/** Pure. @param one a generation that is not settled */
export function endOf({ intent, run, end }: StoredGeneration, bootId: string, at: string): EndRecord {
  const rebooted = intent !== null && intent.bootId !== bootId;
  if (end !== null && (intent === null || end.run >= intent.run)) {
    // Its last run is known to have ended; of its tree nothing is left now.
    const known = { ...end, lost: true, status: 'failed' as const };
    if (end.status === 'stopping' && end.exit !== null && intent !== null) {
      const { restart } = intent.spec;
      const ranEnd = { kind: 'exited' as const, exit: end.exit, ranMs: end.ranMs, overranMs: end.overranMs };
      const context = { restart, attempts: end.attempts, endsOnFailedStart: true, stop: null };
      const next = decideNextStep(ranEnd, context, 0);
      if (next.kind === 'end') return { ...end, status: next.status, statusReason: next.reason, lost: false };
    }
    return { ...known, statusReason: rebooted ? 'node rebooted' : 'agent restarted before its next run' };
  }
  const { spec, started, attempts } = intent!;
  const ran = run !== null && run.run === intent!.run ? run : null;
  return {
    uid: spec.uid,
    clusterId: spec.clusterId,
    slot: spec.slot,
    instanceId: spec.instanceId,
    generation: spec.generation,
    run: intent!.run,
    status: 'failed',
    statusReason: rebooted ? 'node rebooted' : 'agent restarted; its exit is unknown',
    pid: ran?.pid ?? null,
    startedAt: ran?.startedAt ?? null,
    exit: { code: null, signal: null, at },
    ranMs: 0,
    overranMs: null,
    attempts,
    lost: true,
    startError: null,
    started: started ?? answerOf(spec, ran),
  };
}

/** The answer that the start command got or would have got, when the first run is the one that was under way. */
function answerOf(
  { instanceId, generation }: { instanceId: string; generation: number },
  ran: { run: number; pid: number; startedAt: string } | null,
): EndRecord['started'] {
  return ran === null ? null : { instanceId, generation, run: ran.run, pid: ran.pid, startedAt: ran.startedAt };
}
