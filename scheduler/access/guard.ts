/**
 * Who asks, and whether they may: for every request and every WebSocket upgrade, before anything else of it is looked at.
 * Refuses what comes from the pages of other sites first. Used by http/app.ts and events/webSocket.ts.
 */
import type { IncomingMessage } from 'node:http';
import { refusalOfBrowser } from '../../access/browser';
import type { Connections } from '../../access/connections';
import { RatesOfStrangers, RequestRate } from '../../access/requestRate';
import { bearerOf, parseToken } from '../../access/tokenText';
import { type Access, ROLES, type Role, type TokenRole } from '../../contract/access';
import { MorchError } from '../../contract/errors';
import { SCHEDULER_ROUTES } from '../../contract/routes';
import type { NodeCertificates } from '../tls/nodeCertificates';
import type { NodeTokens } from './nodeTokens';
import type { Tokens } from './tokens';

export interface Caller {
  kind: 'token' | 'node' | 'anonymous';
  role: TokenRole | null;
  /** The token's, or the node's id. */
  name: string;
  /** The token's; `''` without one. */
  id: string;
}

const STRANGER: Caller = { kind: 'anonymous', role: null, name: 'anonymous', id: '' };
/** Everybody, where nobody is asked. */
const ANYBODY: Caller = { kind: 'anonymous', role: 'admin', name: 'no-auth', id: '' };

export interface GuardOptions {
  tokens: Pick<Tokens, 'verify' | 'isGood'>;
  nodeTokens: Pick<NodeTokens, 'nodeOf'>;
  /** By the certificate that the client has shown. */
  certificates: Pick<NodeCertificates, 'nodeOf'>;
  /** Names of this scheduler beside localhost. */
  allowedHosts: ReadonlySet<string>;
  /** Whether anybody is asked who they are. */
  auth: boolean;
  /** Requests in a second that are taken of one token, node or, where nobody is asked, address; 0: any number. */
  rateLimit: number;
  connections: Pick<Connections, 'noteKnown'>;
}

/** On the request itself: a WeakMap of all requests costs the collector of garbage more than they are worth. */
const CALLER = Symbol('caller');
type Admitted = IncomingMessage & { [CALLER]?: Caller };

export class Guard {
  /** What is under way by the id of the token that opened it. */
  private readonly held = new Map<string, Set<() => void>>();

  private readonly rateOfKnown: RequestRate;
  private readonly ratesOfStrangers = new RatesOfStrangers();

  constructor(private readonly options: GuardOptions) {
    this.rateOfKnown = new RequestRate(options.rateLimit);
  }

  /**
   * @returns who asks; a stranger for open routes only
   * @throws MorchError INVALID_INPUT, WRONG_HOST, CROSS_SITE, UNAUTHENTICATED, TOO_MANY_REQUESTS; FORBIDDEN for a node with the token of another
   */
  admit(req: Admitted): Caller {
    const refusal = refusalOfBrowser(req, this.options.allowedHosts);
    if (refusal !== null) throw refusal;
    const caller = this.options.auth ? this.recognise(req) : ANYBODY;
    const address = req.socket.remoteAddress ?? '';
    if (caller === STRANGER) {
      const isAllowed = isOpen(req);
      this.ratesOfStrangers[isAllowed ? 'open' : 'refused'].take(address);
      if (!isAllowed) throw new MorchError('UNAUTHENTICATED', 'A token is needed: Authorization: Bearer <token>.');
    } else {
      this.options.connections.noteKnown(req);
      this.rateOfKnown.take(caller === ANYBODY ? address : `${caller.kind} ${caller.id || caller.name}`);
    }
    req[CALLER] = caller;
    return caller;
  }

  /** Of a request that was admitted. */
  callerOf(req: Admitted): Caller {
    return req[CALLER] ?? STRANGER;
  }

  /** @throws MorchError FORBIDDEN; UNAUTHENTICATED for a stranger */
  demand(access: Access, caller: Caller): void {
    if (mayUse(access, caller)) return;
    if (caller === STRANGER)
      throw new MorchError('UNAUTHENTICATED', 'A token is needed: Authorization: Bearer <token>.');
    const own = caller.kind === 'node' ? `the credential of node ${caller.name}` : `the role ${caller.role}`;
    throw new MorchError('FORBIDDEN', `This needs ${NEEDED[access]}; ${caller.name} has ${own}.`);
  }

  /** What a token has opened ends when the token does: streams go on for ever otherwise. */
  hold({ kind, id }: Caller, opened: { once(event: 'close', listener: () => void): unknown }, end: () => void): void {
    if (kind !== 'token') return;
    const ends = this.held.get(id) ?? new Set();
    this.held.set(id, ends.add(end));
    opened.once('close', () => {
      ends.delete(end);
      if (ends.size === 0 && this.held.get(id) === ends) this.held.delete(id);
    });
  }

  /** Ends what was opened with tokens that are good no more. */
  endGone(nowMs: number): void {
    for (const [id, ends] of this.held) {
      if (this.options.tokens.isGood(id, nowMs)) continue;
      for (const end of ends) end();
    }
  }

  private recognise(req: IncomingMessage): Caller {
    try {
      return this.callerBy(req);
    } catch (error) {
      this.ratesOfStrangers.refused.take(req.socket.remoteAddress ?? '');
      throw error;
    }
  }

  private callerBy({ headers, socket }: IncomingMessage): Caller {
    const text = bearerOf(headers);
    const certified = this.options.certificates.nodeOf(socket);
    if (text === undefined) return certified === undefined ? STRANGER : nodeCaller(certified);
    const parts = parseToken(text);
    const node = this.options.nodeTokens.nodeOf(text, parts);
    if (node !== undefined && certified !== undefined && node !== certified)
      throw new MorchError('FORBIDDEN', `The certificate is of node ${certified}, the token of node ${node}.`);
    if (node !== undefined) return nodeCaller(node);
    const { id, name, role } = this.options.tokens.verify(text, Date.now(), parts);
    return { kind: 'token', role, name, id };
  }
}

function nodeCaller(id: string): Caller {
  return { kind: 'node', role: null, name: id, id: '' };
}

/** What each access asks for, in words. */
export const NEEDED: Record<Access, string> = {
  open: 'nothing',
  read: 'the role read',
  operator: 'the role operator',
  admin: 'the role admin',
  node: "a join token, or the node's own",
  agent: "the agent's token",
};

export function mayUse(access: Access, { kind, role }: Caller): boolean {
  switch (access) {
    case 'open':
      return true;
    case 'node':
      return kind === 'node' || role === 'join' || role === 'admin';
    case 'agent':
      return false;
    default:
      return role !== null && ROLES.indexOf(role as Role) >= ROLES.indexOf(access);
  }
}

const OPEN_PATHS = new Set<string>(SCHEDULER_ROUTES.filter(({ access }) => access === 'open').map(({ path }) => path));

/** By the text alone: what the router would take for one of them in another spelling is not. */
function isOpen({ method, url = '' }: IncomingMessage): boolean {
  return (method === 'GET' || method === 'HEAD') && OPEN_PATHS.has(url.split('?')[0]!);
}
