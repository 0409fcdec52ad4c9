import { logLimitsWithDefaults, specWithDefaults, workloadInputSchema } from '../../contract/workload';

const inputOf = (logs: unknown) => workloadInputSchema.safeParse({ command: ['true'], logs });

test('logs are as asked for, within bounds, and 10 files of 10 MiB where nothing is asked for', () => {
  expect(logLimitsWithDefaults(undefined)).toEqual({ maxBytes: 10_485_760, files: 10 });
  expect(logLimitsWithDefaults({ files: 3 })).toEqual({ maxBytes: 10_485_760, files: 3 });
  for (const logs of [{}, { maxBytes: 4_096 }, { maxBytes: 2 ** 40, files: 1_000 }, { files: 1 }]) {
    const { data } = inputOf(logs);
    expect(specWithDefaults(data!, 'web').logs).toEqual(logs);
  }
});

test.each([
  [{ maxBytes: 4_095 }, '/logs/maxBytes'],
  [{ maxBytes: 2 ** 40 + 1 }, '/logs/maxBytes'],
  [{ maxBytes: '10MiB' }, '/logs/maxBytes'],
  [{ files: 0 }, '/logs/files'],
  [{ files: 1_001 }, '/logs/files'],
  [{ file: 1 }, '/logs'],
])('%j is refused at %s', (logs, pointer) => {
  const { error } = inputOf(logs);
  expect(error?.issues.map(({ path }) => `/${path.join('/')}`)).toEqual([pointer]);
});
