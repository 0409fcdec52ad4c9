/**
 * Metrics in the text form of Prometheus. What a part knows anyway is read when it is asked for; only how long things took is
 * noted as they happen. Used by the scheduler and the agent, which name what they tell. docs/metrics.md
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { VERSION } from '../contract/version';

type Labels = Record<string, string>;
/** One for each set of labels. */
export type Reading = readonly [labels: Labels, value: number];
type Read = () => number | readonly Reading[];

/** Of Node's, named against the rules: gauges that end in _total. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];
/** How often the delay of the event loop is looked at. */
const LOOP_LOOKED_AT_MS = 20;

export class Exposition {
  private readonly registry = new Registry();

  constructor() {
    this.gauge('build_info', 'The version that runs; always 1', () => [[{ version: VERSION }, 1]], ['version']);
  }

  /** What Node knows of itself: CPU, memory, its event loop, garbage collection. */
  addProcess(): void {
    collectDefaultMetrics({
      register: this.registry,
      prefix: 'morch_',
      eventLoopMonitoringPrecision: LOOP_LOOKED_AT_MS,
    });
    for (const name of MISNAMED) this.registry.removeSingleMetric(`morch_${name}`);
  }

  /** @param labelNames of the readings; none: it reads a number */
  gauge(name: string, help: string, read: Read, labelNames: readonly string[] = []): void {
    const gauge: Gauge = new Gauge({
      ...this.named(name, help, labelNames),
      collect: () => {
        gauge.reset();
        for (const [labels, value] of readingsOf(read)) gauge.set(labels, value);
      },
    });
  }

  /** Of a count that is kept elsewhere and only rises. */
  counter(name: string, help: string, read: Read, labelNames: readonly string[] = []): void {
    const counter: Counter = new Counter({
      ...this.named(name, help, labelNames),
      collect: () => {
        counter.reset();
        for (const [labels, value] of readingsOf(read)) counter.inc(labels, value);
      },
    });
  }

  histogram<L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: L[] = [],
  ): Histogram<L> {
    return new Histogram({ ...this.named(name, help, labelNames), labelNames, buckets });
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }

  private named(name: string, help: string, labelNames: readonly string[]) {
    return { name: `morch_${name}`, help, labelNames: [...labelNames], registers: [this.registry] };
  }
}

function readingsOf(read: Read): readonly Reading[] {
  const value = read();
  return typeof value === 'number' ? [[{}, value]] : value;
}
