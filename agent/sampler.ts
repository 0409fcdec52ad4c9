/** Keeps the latest measurement of the node and its runs, so that whoever asks need not wait for one. */
import type { Logger } from 'pino';
import type { System } from '../contract/agentApi';
import type { Usage } from '../contract/workload';
import type { HostSample, ProcessHost } from './processHost';

const INTERVAL_MS = 2_000;
const NOTHING: Usage = { cpuPercent: 0, memoryBytes: 0 };

export interface Measured {
  system: System;
  /** By nonce. `cpuPercent`: 100 is one core full. */
  runs: Map<string, Usage>;
}

export class Sampler {
  /** Its runs: as each was looked at last. */
  #previous: HostSample;
  #measured: Measured;
  /** Of the latest sample. */
  #busy: string[] = [];
  #timer: NodeJS.Timeout | null = null;

  private constructor(
    private readonly host: Pick<ProcessHost, 'sample' | 'hosts'>,
    private readonly log: Logger,
    private readonly intervalMs: number,
    first: HostSample,
  ) {
    this.#previous = first;
    this.#measured = measure(null, first);
  }

  static async open(
    host: Pick<ProcessHost, 'sample' | 'hosts'>,
    log: Logger,
    intervalMs = INTERVAL_MS,
  ): Promise<Sampler> {
    return new Sampler(host, log, intervalMs, await host.sample());
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#sample().catch((error) => this.log.error({ err: error }, 'cannot measure the node'));
    }, this.intervalMs);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  get system(): System {
    return this.#measured.system;
  }

  /** Zeros for a run not measured yet. */
  usageOf(nonce: string | null): Usage {
    return (nonce === null ? undefined : this.#measured.runs.get(nonce)) ?? NOTHING;
  }

  /** Of runs that used the CPU between the latest two measurements. */
  busyNonces(): readonly string[] {
    return this.#busy;
  }

  async #sample(): Promise<void> {
    try {
      const sample = await this.host.sample();
      this.#takeIn(sample, measure(this.#previous, sample));
    } finally {
      if (this.#timer !== null) this.start();
    }
  }

  /** Most runs do nothing most of the time: what is known of those is left as it is. */
  #takeIn(sample: HostSample, { system, runs }: Measured): void {
    const seen = this.#previous.runs;
    const usages = this.#measured.runs;
    for (const [nonce, usage] of runs) usages.set(nonce, usage);
    for (const [nonce, run] of sample.runs) seen.set(nonce, run);
    if (sample.someEnded) {
      for (const nonce of [...seen.keys()].filter((one) => !this.host.hosts(one))) {
        seen.delete(nonce);
        usages.delete(nonce);
      }
    }
    this.#previous = { ...sample, runs: seen };
    this.#measured = { system, runs: usages };
    this.#busy = [...runs].flatMap(([nonce, { cpuPercent }]) => (cpuPercent > 0 ? [nonce] : []));
  }
}

/** Pure. CPU over the time between two samples; 0 where there is only one. */
export function measure(previous: HostSample | null, sample: HostSample): Measured {
  const totalTicks = sample.cpuTotalTicks - (previous?.cpuTotalTicks ?? sample.cpuTotalTicks);
  const idleTicks = sample.cpuIdleTicks - (previous?.cpuIdleTicks ?? sample.cpuIdleTicks);
  const runs = new Map<string, Usage>();
  for (const [nonce, { cpuTicks, rssBytes, lookedAtTicks }] of sample.runs) {
    const before = previous?.runs.get(nonce);
    const usedTicks = previous === null ? 0 : Math.max(0, cpuTicks - (before?.cpuTicks ?? 0));
    // One that was not looked at had done nothing before. The node's total counts every core, so a core's share of it is
    // the wall time in ticks.
    const sinceTicks = before?.lookedAtTicks ?? previous?.cpuTotalTicks ?? lookedAtTicks;
    const wallTicks = (lookedAtTicks - sinceTicks) / sample.cpuCount;
    runs.set(nonce, { cpuPercent: wallTicks > 0 ? percent(usedTicks, wallTicks) : 0, memoryBytes: rssBytes });
  }
  return {
    system: {
      cpuPercent: totalTicks > 0 ? percent(totalTicks - idleTicks, totalTicks, 100) : 0,
      memoryPercent: percent(sample.memoryTotalBytes - sample.memoryAvailableBytes, sample.memoryTotalBytes, 100),
      loadAverage: sample.loadAverage,
      memoryTotalBytes: sample.memoryTotalBytes,
      memoryAvailableBytes: sample.memoryAvailableBytes,
      cpuCount: sample.cpuCount,
    },
    runs,
  };
}

/** In tenths. */
function percent(part: number, whole: number, most = Number.POSITIVE_INFINITY): number {
  return Math.min(most, Math.max(0, Math.round((part / whole) * 1_000) / 10));
}
