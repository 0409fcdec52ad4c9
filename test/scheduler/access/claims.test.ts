/** Who may register an agent under which name. */
import { makeToken, tokenText } from '../../../access/tokenText';
import { type Holder, isNewcomer, refusalOfClaim } from '../../../scheduler/access/claims';
import type { Caller } from '../../../scheduler/access/guard';

const own = tokenText(makeToken('agent'));
const other = tokenText(makeToken('agent'));
const join: Caller = { kind: 'token', role: 'join', name: 'join.token', id: '1' };
const admin: Caller = { kind: 'token', role: 'admin', name: 'admin.token', id: '2' };
const node = (name: string): Caller => ({ kind: 'node', role: null, name, id: '' });
const claim = (agentToken: string | undefined) => ({ id: 'n1', where: '10.0.0.1:8080', agentToken });
const heard: Holder = { where: '10.0.0.9:8080', isHeard: true, agentToken: own };
const lost: Holder = { ...heard, isHeard: false };
const ofEarlierVersion: Holder = { ...heard, agentToken: undefined };

test.each<[string, Caller, string | undefined, Holder | undefined, string | undefined, boolean]>([
  ['a join token, a new name', join, own, undefined, undefined, true],
  ['a join token, its own agent again', join, own, heard, undefined, false],
  ['a join token, the name of one that may be there', join, other, heard, 'NODE_EXISTS', true],
  ['a join token, the same without a token', join, undefined, heard, 'NODE_EXISTS', true],
  ['a join token, the name of one that is lost', join, other, lost, undefined, true],
  ['a join token, one that told no token yet', join, own, ofEarlierVersion, undefined, false],
  ['the node itself', node('n1'), own, heard, undefined, false],
  ['the node itself, with a new token', node('n1'), other, heard, undefined, false],
  ['another node', node('n2'), own, heard, 'FORBIDDEN', false],
  ['another node, a new name', node('n2'), own, undefined, 'FORBIDDEN', false],
  ['another node, the name of one that is lost', node('n2'), other, lost, 'FORBIDDEN', false],
  ['an admin, the name of one that may be there', admin, other, heard, undefined, false],
])('%s', (_what, caller, agentToken, holder, code, counts) => {
  expect(refusalOfClaim(caller, claim(agentToken), holder)?.code).toBe(code);
  expect(isNewcomer(caller, claim(agentToken), holder)).toBe(counts);
});
