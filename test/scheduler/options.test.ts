import { parseSchedulerOptions } from '../../scheduler/options';

const parse = (options: object) => parseSchedulerOptions({ dataDir: '/d', ...options });

test.each([
  [{}, false],
  [{ host: 'localhost' }, false],
  [{ host: '::1' }, false],
  [{ tls: true }, true],
  [{ tlsCert: 'c', tlsKey: 'k' }, true],
  [{ host: '0.0.0.0' }, true],
  [{ host: '10.0.0.1' }, true],
  [{ host: '127.0.0.1.example' }, true],
])('with %j the scheduler speaks TLS: %s', (options, tls) => {
  expect(parse(options).tls).toBe(tls);
});

test.each([
  [{ host: '0.0.0.0', auth: false }, '--no-auth is for loopback addresses only'],
  [{ host: 'scheduler.example', auth: false, tls: true }, '--no-auth is for loopback addresses only'],
  [{ tlsCert: 'c' }, '--tls-cert and --tls-key go together'],
  [{ tlsKey: 'k', host: '10.0.0.1' }, '--tls-cert and --tls-key go together'],
  [{ tlsValidityMs: 9_999 }, 'tlsValidityMs'],
  [{ tlsValidityMs: 800 * 86_400_000 }, 'tlsValidityMs'],
])('with %j the scheduler is refused: %s', (options, why) => {
  expect(() => parse(options)).toThrow(why);
});
