import { parseAgentOptions, tlsKindOf } from '../../../agent/options';

const parse = (options: object) => parseAgentOptions({ dataDir: '/d', name: 'n1', ...options });

test.each([
  [{}, 'none'],
  [{ scheduler: 'http://127.0.0.1:5000' }, 'none'],
  [{ scheduler: 'http://localhost:5000', advertise: '10.0.0.7:80' }, 'none'],
  [{ scheduler: 'http://[::1]:5000' }, 'none'],
  [{ scheduler: 'HTTPS://10.0.0.1:5000' }, 'member'],
  [{ scheduler: 'https://10.0.0.1:5000' }, 'member'],
  [{ scheduler: 'https://10.0.0.1:5000', host: '10.0.0.7' }, 'member'],
  [{ tls: true }, 'alone'],
  [{ tlsCert: 'c', tlsKey: 'k' }, 'alone'],
  [{ host: '0.0.0.0' }, 'alone'],
])('with %j the agent’s TLS is: %s', (options, kind) => {
  expect(tlsKindOf(parse(options))).toBe(kind);
});

test.each([
  [{ host: '10.0.0.7', auth: false }, '--no-auth is for loopback addresses only'],
  [{ host: '::', auth: false }, '--no-auth is for loopback addresses only'],
  [{ host: '10.0.0.7', scheduler: 'http://10.0.0.1:5000' }, '--host 10.0.0.7 needs a scheduler that speaks TLS'],
  [{ scheduler: 'http://10.0.0.1:5000' }, 'tokens would be sent in the clear'],
  [{ scheduler: 'HTTP://scheduler.example', advertise: '10.0.0.7:80' }, 'tokens would be sent in the clear'],
  [{ scheduler: 'http://0.0.0.0:5000' }, 'tokens would be sent in the clear'],
  [{ scheduler: 'http://127.0.0.1.example:5000', auth: false }, 'tokens would be sent in the clear'],
  [{ tls: true, scheduler: 'http://127.0.0.1:5000' }, 'TLS needs a scheduler that speaks TLS'],
  [{ tlsCert: 'c' }, '--tls-cert and --tls-key go together'],
  [{ tlsKey: 'k' }, '--tls-cert and --tls-key go together'],
  [{ tlsCa: 'ca' }, '--tls-ca is for an agent with a --scheduler'],
])('with %j the agent is refused: %s', (options, why) => {
  expect(() => parse(options)).toThrow(why);
});
