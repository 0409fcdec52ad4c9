import { pino } from 'pino';
import type { HostSample } from '../../agent/processHost';
import { Sampler } from '../../agent/sampler';
import { until } from '../support/until';

test('what a run used is known until it is looked at again, or has ended', async () => {
  const node = { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuIdleTicks: 0, cpuCount: 1, clockTicksPerSecond: 100 };
  const hosted = new Set(['idle', 'busy', 'ended']);
  let cpuTotalTicks = 0;
  let samples = 0;
  const sample = (...looks: [nonce: string, cpuTicks: number, rssBytes: number][]): HostSample => ({
    ...node,
    loadAverage: [0, 0, 0],
    cpuTotalTicks,
    runs: new Map(
      looks.map(([nonce, cpuTicks, rssBytes]) => [nonce, { cpuTicks, rssBytes, lookedAtTicks: cpuTotalTicks }]),
    ),
    someEnded: hosted.size === 2,
  });
  const host = {
    hosts: (nonce: string) => hosted.has(nonce),
    async sample() {
      cpuTotalTicks += 100;
      samples += 1;
      if (samples === 1) return sample(['idle', 0, 7], ['busy', 0, 8], ['ended', 0, 9]);
      return sample(['busy', samples * 50, 8]);
    },
  };
  const sampler = await Sampler.open(host, pino({ level: 'silent' }), 1);
  sampler.start();
  await until(() => samples > 3, { what: 'it is measured again and again' });
  expect(sampler.usageOf('idle')).toEqual({ cpuPercent: 0, memoryBytes: 7 });
  expect(sampler.usageOf('busy')).toEqual({ cpuPercent: 50, memoryBytes: 8 });
  expect(sampler.usageOf('ended')).toEqual({ cpuPercent: 0, memoryBytes: 9 });
  expect(sampler.busyNonces()).toEqual(['busy']);
  hosted.delete('ended');
  await until(() => sampler.usageOf('ended').memoryBytes === 0, { what: 'what has ended is forgotten' });
  expect(sampler.usageOf('idle').memoryBytes).toBe(7);
  sampler.stop();
});
