import type { IncomingMessage } from 'node:http';
import { makeToken, tokenText } from '../../../access/tokenText';
import { Guard } from '../../../scheduler/access/guard';
import { Tokens } from '../../../scheduler/access/tokens';
import { openMemoryStore } from '../../../scheduler/store/memory';
import { openAccess } from '../openAccess';

/** Whose client certificate the connection has shown. */
async function guardOf(certified: string | undefined) {
  const tokens = await Tokens.load(openMemoryStore(), { put: () => {}, delete: () => {} }, []);
  const { nodeTokens } = openAccess();
  const own = tokenText(makeToken('agent'));
  nodeTokens.set({ id: 'n1' } as never, own);
  const join = tokenText(tokens.create({ name: 'rack', role: 'join' }, 0).parts);
  const guard = new Guard({
    tokens,
    nodeTokens,
    certificates: { nodeOf: () => certified },
    allowedHosts: new Set(),
    auth: true,
    rateLimit: 0,
    connections: { noteKnown: () => {} },
  });
  const admit = (token?: string) => {
    const headers = { host: '127.0.0.1', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    return guard.admit({
      headers,
      rawHeaders: [],
      method: 'POST',
      url: '/nodes',
      socket: {},
    } as unknown as IncomingMessage);
  };
  return { guard, admit, own, join };
}

test('whoever shows the certificate of a node is that node, and may what a node may', async () => {
  const { guard, admit } = await guardOf('n1');
  const caller = admit();
  expect(caller).toMatchObject({ kind: 'node', name: 'n1', role: null });
  expect(() => guard.demand('node', caller)).not.toThrow();
  for (const access of ['read', 'operator', 'admin'] as const) {
    expect(() => guard.demand(access, caller)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
  }
});

test('certificate and token of one node go together, those of two do not', async () => {
  const one = await guardOf('n1');
  expect(one.admit(one.own)).toMatchObject({ kind: 'node', name: 'n1' });
  const two = await guardOf('n2');
  expect(() => two.admit(two.own)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
});

test('a token that is no good is refused, whatever certificate is shown with it', async () => {
  const { admit } = await guardOf('n1');
  expect(() => admit('morch_admin_00000000_nonsense')).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }));
});

test('a join token counts as that, with a certificate and without', async () => {
  for (const certified of ['n1', undefined]) {
    const { admit, join } = await guardOf(certified);
    expect(admit(join)).toMatchObject({ kind: 'token', role: 'join' });
  }
});

test('without certificate and token there is nobody', async () => {
  const { admit } = await guardOf(undefined);
  expect(() => admit()).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }));
});
