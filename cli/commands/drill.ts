/** `morch drill`: makes a node fail on purpose, watches what comes of it, and measures it against an objective. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import {
  DRILL_KINDS,
  type Drill,
  type DrillInput,
  type DrillKind,
  type DrillPreview,
  drillInputSchema,
} from '../../contract/drill';
import { MorchError, parseInput } from '../../contract/errors';
import type { RecoveryMetrics } from '../../contract/health';
import type { NodeDetail } from '../../contract/node';
import { type Client, clientOf, isUnreachable } from '../client';
import { confirm } from '../confirm';
import { previewText } from '../drill/preview';
import { type Objectives, renderResult, resultOf } from '../drill/result';
import { DrillTimeline } from '../drill/timeline';
import { within } from '../flags';
import { followEvents } from '../followEvents';
import { addOutputOptions, outputOptionsOf, print, renderOne, say, visible } from '../output';
import { inFlags } from '../problems';
import { formatMs, parseDurationMs } from '../quantities';
import { nodePath, resolveNode } from '../resolve';

/** What is promised. */
const DETECT_WITHIN_MS = 5_000;
const RECOVER_WITHIN_MS = 15_000;
const LOOK_EVERY_MS = 200;
/** After a node is well again it is told soon what has ended on it meanwhile. */
const SETTLES_WITHIN_MS = 500;
/** What is not over when this has passed, or three times the objective if that is longer, is not waited for. */
const RECOVERY_AT_MOST_MS = 60_000;
/** From then on that a node is expected back, it has so long. */
const RETURN_WITHIN_MS = 30_000;
/** 128 + SIGINT. */
const INTERRUPTED = 130;

interface DrillFlags {
  kind: DrillKind;
  for?: number;
  objective?: number;
  detectWithin?: number;
  force?: boolean;
  yes?: boolean;
}

export function registerDrill(program: Command): void {
  const command = program
    .command('drill')
    .description('make a node fail on purpose, and measure how fast that is seen and made good')
    .argument('<node>', 'node id, or a unique beginning of one')
    .addOption(
      new Option('--kind <kind>', 'kill its agent, or cut it off from everybody').choices(DRILL_KINDS).default('kill'),
    )
    .option(
      '--for <duration>',
      'how long a cut lasts, at most 10m (default: 20s)',
      within(parseDurationMs, '1ms', '10m'),
    )
    .option('--detect-within <duration>', 'objective: until the verdict (default: 5s)', within(parseDurationMs, '1ms'))
    .option('--objective <duration>', 'objective: until all runs again (default: 15s)', within(parseDurationMs, '1ms'))
    .option('--force', 'also when no other node could take what runs there')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch drill n1\n  $ morch drill n1 --kind cut --for 30s -y -o json\n' +
        '  $ morch drill n1 --detect-within 2s --objective 5s -y\n\n' +
        'Exit code 0: the objectives were met, or the node was well again before it was given up; 1: they were missed, or\n' +
        'nothing was measured. Times count from the failure.\n' +
        'The agent is not started again by this: that is systemd’s or `morch dev`’s part. A cut ends by itself.',
    );
  addOutputOptions(command, { list: false }).action(async (typed: string, flags: DrillFlags) => {
    const client = clientOf(command);
    const input = inputOf(flags);
    const id = await resolveNode(client, typed);
    const preview = await client.get<DrillPreview>(`${nodePath(id)}/drill`);
    if (preview.refusal !== null) throw new MorchError('NOT_POSSIBLE', preview.refusal);
    say(previewText(preview, input));
    refuseHopeless(preview, flags.force ?? false);
    if (!(await confirm('Go on?', flags.yes ?? false))) {
      say('nothing was done');
      process.exitCode = 1;
      return;
    }
    const drill = await client.post<Drill>(`${nodePath(id)}/drill`, input);
    leaveOnInterrupt(drill);
    const { detectWithin = DETECT_WITHIN_MS, objective = RECOVER_WITHIN_MS } = flags;
    const objectives = { detectionMs: detectWithin, recoveryMs: objective };
    const watch = new Watch(client, new DrillTimeline(drill, preview.instances), objectives);
    const result = await watch.untilOver();
    const options = outputOptionsOf(command);
    print(renderOne(result, options, () => renderResult(result, options)));
    process.exitCode = result.met ? 0 : 1;
  });
}

function inputOf({ kind, for: durationMs }: DrillFlags): DrillInput {
  try {
    return parseInput(drillInputSchema, { kind, ...(durationMs === undefined ? {} : { durationMs }) }, 'drill');
  } catch (error) {
    throw inFlags(error, { '/durationMs': '--for' });
  }
}

function refuseHopeless({ node, instances }: DrillPreview, force: boolean): void {
  const hopeless = instances.filter(({ fate }) => fate === 'nowhere').length;
  if (hopeless === 0 || force) return;
  throw new MorchError(
    'INVALID_INPUT',
    `No other node could take ${hopeless} of the ${instances.length} instances on ${node}: they would be down until it is back. Make room first, or add --force.`,
  );
}

function leaveOnInterrupt({ node, kind, durationMs }: Drill): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      const rest =
        kind === 'kill' ? 'its agent is to be started again' : `it is cut off for ${formatMs(durationMs ?? 0)}`;
      say(`no longer watching; ${node} has failed as asked (${rest}): morch events, morch recovery`);
      process.exit(INTERRUPTED);
    });
  }
}

/** Follows a drill to its end. */
class Watch {
  private readonly beganMs = performance.now();
  /** When what was to be moved was settled, and when no old copy was left; since the beginning. */
  private settledMs: number | null = null;
  private staleGoneAt: string | null = null;
  /** Since when it has been well again without a verdict; since the beginning. */
  private wellSinceMs: number | null = null;

  constructor(
    private readonly client: Client,
    private readonly timeline: DrillTimeline,
    private readonly objectives: Objectives,
  ) {}

  async untilOver(): Promise<ReturnType<typeof resultOf>> {
    const { drill } = this.timeline;
    const events = followEvents(this.client, drill.since, (event) => {
      const line = this.timeline.take(event);
      if (line !== null) say(visible(line));
    });
    const looks = this.lookUntilOver();
    await Promise.race([events, looks]);
    const { recent } = await this.client.get<RecoveryMetrics>('/recovery/metrics');
    this.timeline.takeRecoveries(recent);
    return resultOf(this.timeline, this.objectives, this.staleGoneAt);
  }

  private get elapsedMs(): number {
    return performance.now() - this.beganMs;
  }

  private async lookUntilOver(): Promise<void> {
    const { drill } = this.timeline;
    for (let node = await this.look(); !this.isOver(node); node = await this.look()) {
      if (this.timeline.returnedAt !== null && node?.staleCopies === 0 && this.staleGoneAt === null) {
        this.staleGoneAt = new Date(Date.parse(drill.at) + this.elapsedMs).toISOString();
        say(`${`+${formatMs(this.elapsedMs)}`.padEnd(8)} ${drill.node} has no stale copy left`);
      }
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** Null: the scheduler is away, for now. */
  private async look(): Promise<NodeDetail | null> {
    try {
      return await this.client.get<NodeDetail>(nodePath(this.timeline.drill.node));
    } catch (error) {
      if (isUnreachable(error)) return null;
      throw error;
    }
  }

  private isOver(node: NodeDetail | null): boolean {
    const { drill, verdictAt, backAt, pending } = this.timeline;
    const patienceMs = Math.max(3 * this.objectives.recoveryMs, RECOVERY_AT_MOST_MS);
    const failsForMs = drill.durationMs ?? 0;
    if (verdictAt === null) {
      if (this.elapsedMs > failsForMs + patienceMs) return true;
      // A cut whose agent is started anew is over before its time.
      const isWell =
        backAt !== null || (drill.kind === 'cut' && node?.status === 'healthy' && this.elapsedMs > failsForMs);
      this.wellSinceMs = isWell ? (this.wellSinceMs ?? this.elapsedMs) : null;
      return this.wellSinceMs !== null && this.elapsedMs - this.wellSinceMs > SETTLES_WITHIN_MS && pending.length === 0;
    }
    if (pending.length > 0 && this.elapsedMs < patienceMs) return false;
    this.settledMs ??= this.elapsedMs;
    if (this.staleGoneAt !== null && backAt !== null) return true;
    const isLate = this.elapsedMs > Math.max(this.settledMs, failsForMs) + RETURN_WITHIN_MS;
    if (isLate) say(`${drill.node} is not back; it is no longer waited for`);
    return isLate;
  }
}
