import { LastTails, TAILS_CAP_BYTES } from '../../../scheduler/blackBox/lastTails';

const AT = '2026-01-02T03:04:05.678Z';
const tail = (stdout: string) => ({ run: 1, stdout, stderr: '', at: AT });

describe('the last tails', () => {
  it('are held up to a cap; the one told longest ago goes first', () => {
    const tails = new LastTails(10_000);
    for (let i = 0; i < 100; i += 1) {
      tails.set(`uid/${i}/1`, tail('x'.repeat(1_000)));
      // Told again and again.
      tails.set('uid/busy/1', tail(String(i)));
      expect(tails.bytes).toBeLessThanOrEqual(10_000);
    }
    expect(tails.get('uid/busy/1')).toEqual(tail('99'));
    expect(tails.get('uid/99/1')).toBeDefined();
    expect(tails.get('uid/98/1')).toBeDefined();
    expect(tails.get('uid/90/1')).toBeUndefined();
    expect(tails.get('uid/0/1')).toBeUndefined();
  });

  it('count what is replaced no more', () => {
    const tails = new LastTails();
    tails.set('uid/0/1', tail('x'.repeat(4_096)));
    const once = tails.bytes;
    for (let i = 0; i < 50; i += 1) tails.set('uid/0/1', tail('y'.repeat(4_096)));
    expect(tails.bytes).toBe(once);
    tails.set('uid/0/1', tail(''));
    expect(tails.bytes).toBeLessThan(once - 8_000);
  });

  it('take 64 MiB at most, by no less than they take: two full streams of 7,000 instances are too many', () => {
    expect(TAILS_CAP_BYTES).toBe(64 * 2 ** 20);
    const tails = new LastTails();
    const full = { run: 1, stdout: 'o'.repeat(4_096), stderr: 'e'.repeat(4_096), at: AT };
    for (let i = 0; i < 7_000; i += 1) tails.set(`uid/${i}/1`, full);
    expect(tails.bytes).toBeLessThanOrEqual(TAILS_CAP_BYTES);
    const held = Array.from({ length: 7_000 }, (_, i) => tails.get(`uid/${i}/1`)).filter((one) => one !== undefined);
    expect(held.length).toBeGreaterThan(3_000);
    expect(held.length * 4 * 4_096).toBeLessThanOrEqual(TAILS_CAP_BYTES);
  });
});
