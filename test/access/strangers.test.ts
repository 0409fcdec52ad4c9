/** Strangers at one address who ask for what is refused leave the probes there theirs, and the other way round. */
import type { IncomingMessage } from 'node:http';
import { Guard as AgentGuard } from '../../agent/access';
import { MorchError } from '../../contract/errors';
import { Guard as SchedulerGuard } from '../../scheduler/access/guard';

const connections = { noteKnown: () => {} };
const scheduler = new SchedulerGuard({
  tokens: {
    verify: () => {
      throw new MorchError('UNAUTHENTICATED', 'no such token');
    },
    isGood: () => false,
  },
  nodeTokens: { nodeOf: () => undefined },
  certificates: { nodeOf: () => undefined },
  allowedHosts: new Set(),
  auth: true,
  rateLimit: 2_000,
  connections,
});
const agent = new AgentGuard('the-token', new Set(), connections);

afterEach(() => jest.restoreAllMocks());

describe.each([
  ['the scheduler', scheduler],
  ['the agent', agent],
])('of %s', (_name, guard) => {
  const ask = (url: string, authorization?: string): string => {
    const headers = { host: 'localhost', ...(authorization === undefined ? {} : { authorization }) };
    try {
      const request = {
        method: 'GET',
        url,
        headers,
        rawHeaders: [] as string[],
        socket: { remoteAddress: '10.0.0.9' },
      };
      guard.admit(request as unknown as IncomingMessage);
      return 'admitted';
    } catch (error) {
      return (error as MorchError).code;
    }
  };

  test.each([
    ['without a token', undefined],
    ['with a wrong one', 'Bearer wrong'],
  ])('requests that are refused, %s', (_which, authorization) => {
    jest.spyOn(Date, 'now').mockReturnValue(authorization === undefined ? 1_000 : 2_000);
    const answers = Array.from({ length: 600 }, () => ask('/metrics', authorization));
    expect([answers[499], answers[500]]).toEqual(['UNAUTHENTICATED', 'TOO_MANY_REQUESTS']);
    for (const url of ['/livez', '/readyz']) expect(ask(url)).toBe('admitted');
  });

  test('probes without end', () => {
    jest.spyOn(Date, 'now').mockReturnValue(3_000);
    const answers = Array.from({ length: 600 }, () => ask('/livez'));
    expect([answers[499], answers[500]]).toEqual(['admitted', 'TOO_MANY_REQUESTS']);
    expect(ask('/metrics')).toBe('UNAUTHENTICATED');
  });
});
