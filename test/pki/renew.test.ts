import { makeAuthority } from '../../pki/ca';
import { issueCredential } from '../../pki/issue';
import { SCHEDULER } from '../../pki/names';
import { isExpired, renewAtMs, startRenewal, validityOf } from '../../pki/renew';

const nowMs = Date.now();

test('a certificate is to be replaced when two thirds of its time are over, however long it was backdated', async () => {
  const authority = await makeAuthority(nowMs);
  const issued = await issueCredential({ authority, subject: SCHEDULER, validityMs: 90_000, nowMs });
  const validity = validityOf(issued.certificate);
  expect(Math.abs(renewAtMs(validity) - (nowMs + 60_000))).toBeLessThanOrEqual(1_000);
  expect(isExpired(issued.certificate, nowMs + 80_000)).toBe(false);
  expect(isExpired(issued.certificate, nowMs + 90_001)).toBe(true);
});

describe('the loop', () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  test('replaces each certificate in its turn, tries again after a failure, and ends when told to', async () => {
    const authority = await makeAuthority(Date.now());
    const issue = async () =>
      (await issueCredential({ authority, subject: SCHEDULER, validityMs: 30_000, nowMs: Date.now() })).certificate;
    let present = await issue();
    let next = await issue();
    const outcomes: string[] = [];
    let failing = 2;
    const stop = startRenewal(
      () => present,
      async () => {
        if (failing-- > 0) throw new Error('not now');
        present = next;
        outcomes.push('replaced');
      },
      (error) => outcomes.push((error as Error).message),
    );
    await jest.advanceTimersByTimeAsync(15_000);
    expect(outcomes).toEqual([]);
    // The successor, issued when it is due.
    next = await issue();
    await jest.advanceTimersByTimeAsync(10_000);
    expect(outcomes).toEqual(['not now', 'not now', 'replaced']);
    next = await issue();
    await jest.advanceTimersByTimeAsync(15_000);
    expect(outcomes).toEqual(['not now', 'not now', 'replaced', 'replaced']);
    stop();
    await jest.advanceTimersByTimeAsync(600_000);
    expect(outcomes).toHaveLength(4);
  });
});
