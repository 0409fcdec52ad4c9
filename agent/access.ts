/**
 * Who may command this agent: whoever has its token, which is `<dataDir>/agent.token`, and which its scheduler is told at
 * the registration. Refuses what comes from the pages of other sites first.
 */
import { chmod } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { refusalOfBrowser } from '../access/browser';
import type { Connections } from '../access/connections';
import { readPrivateFile, writePrivateFile } from '../access/privateFile';
import { RatesOfStrangers } from '../access/requestRate';
import { bearerOf, isSameText, makeToken, tokenText } from '../access/tokenText';
import { agentTokenSchema } from '../contract/access';
import { MorchError } from '../contract/errors';
import { AGENT_ROUTES } from '../contract/routes';

/**
 * Made at the first start.
 *
 * @throws MorchError INVALID_INPUT for a file that holds no such token
 */
export async function provideAgentToken(dataDir: string): Promise<string> {
  const file = join(dataDir, 'agent.token');
  const known = await readPrivateFile(file);
  if (known !== null && agentTokenSchema.safeParse(known).success) {
    await chmod(file, 0o600);
    return known;
  }
  if (known !== null) {
    const detail = `${file} does not hold the token of an agent. Remove it: the next start makes another, and registers anew with it.`;
    throw new MorchError('INVALID_INPUT', detail);
  }
  const text = tokenText(makeToken('agent'));
  await writePrivateFile(file, text);
  return text;
}

const OPEN_PATHS = new Set<string>(AGENT_ROUTES.filter(({ access }) => access === 'open').map(({ path }) => path));

export class Guard {
  readonly #ratesOfStrangers = new RatesOfStrangers();

  /**
   * @param token null: nobody is asked for one
   * @param allowedHosts names of this agent beside localhost, in lower case
   */
  constructor(
    private readonly token: string | null,
    private readonly allowedHosts: ReadonlySet<string>,
    private readonly connections: Pick<Connections, 'noteKnown'>,
  ) {}

  /**
   * Before anything else of a request is looked at.
   *
   * @throws MorchError INVALID_INPUT, WRONG_HOST, CROSS_SITE, UNAUTHENTICATED, TOO_MANY_REQUESTS
   */
  admit(request: IncomingMessage): void {
    const refusal = refusalOfBrowser(request, this.allowedHosts);
    if (refusal !== null) throw refusal;
    const given = bearerOf(request.headers);
    if (this.token === null || (given !== undefined && isSameText(this.token, given))) {
      this.connections.noteKnown(request);
      return;
    }
    const address = request.socket.remoteAddress ?? '';
    if (given === undefined && isOpen(request)) {
      this.#ratesOfStrangers.open.take(address);
      return;
    }
    this.#ratesOfStrangers.refused.take(address);
    throw new MorchError(
      'UNAUTHENTICATED',
      given === undefined
        ? 'A token is needed: Authorization: Bearer <token>, as in agent.token of the data directory.'
        : 'The token is not that of this agent.',
    );
  }
}

/** By the text alone. */
function isOpen({ method, url = '' }: IncomingMessage): boolean {
  return (method === 'GET' || method === 'HEAD') && OPEN_PATHS.has(url.split('?')[0]!);
}
