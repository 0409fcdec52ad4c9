/**
 * Makes the agent known to its scheduler: at the start, and again whenever no scheduler has been connected for a while
 * (it may have lost its records). Tries for ever; each kind of failure is said once.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { readPrivateFile } from '../access/privateFile';
import { MorchError } from '../contract/errors';
import { healthSchema } from '../contract/health';
import type { RegisterNode } from '../contract/node';
import { isUntrusted } from '../pki/trust';
import type { Membership } from './membership';
import { type Answer, problemIn, SchedulerClient } from './schedulerClient';
import { sleep } from './timers';
import type { MemberTls } from './tls/member';

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 3_000;
const UNHEARD_MS = 5_000;
const ANSWER_WITHIN_MS = 10_000;

export interface RegistrationMeans {
  /** Base URL, no slash at its end. */
  scheduler: string;
  node: RegisterNode;
  /** Undefined: there is none. @throws Error in words */
  joinToken(): Promise<string | undefined>;
  membership: Membership;
  /** Null: the scheduler speaks plain HTTP. */
  tls: MemberTls | null;
  withoutSchedulerMs(): number;
  /** Whether instances of another cluster run here. */
  hasLiveOfOthers(clusterId: string): boolean;
  log: Logger;
}

/** @returns ends it */
export function startRegistration(means: RegistrationMeans): () => void {
  const stopping = new AbortController();
  keepRegistered(means, stopping.signal).catch((error) => {
    means.log.error({ err: error }, 'registration with the scheduler has ended');
  });
  return () => stopping.abort();
}

async function keepRegistered(means: RegistrationMeans, stopping: AbortSignal): Promise<void> {
  /** Null: the last try succeeded. */
  let lastFailure: string | null = '';
  let retryMs = FIRST_RETRY_MS;
  while (!stopping.aborted) {
    const failure = await register(means, stopping);
    if (stopping.aborted) return;
    if (failure === null) {
      const { scheduler, membership, log } = means;
      if (lastFailure !== null) log.info({ scheduler, clusterId: membership.clusterId }, 'registered');
      lastFailure = null;
      retryMs = FIRST_RETRY_MS;
      await untilUnheard(means, stopping);
    } else {
      if (failure !== lastFailure) means.log.warn({ scheduler: means.scheduler }, `cannot register: ${failure}`);
      lastFailure = failure;
      await sleep(retryMs);
      retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
    }
  }
}

/** The scheduler connects after a registration; it has as long for that as it may be away later. */
async function untilUnheard({ withoutSchedulerMs }: RegistrationMeans, stopping: AbortSignal): Promise<void> {
  const registeredAtMs = performance.now();
  while (!stopping.aborted) {
    const sinceMs = performance.now() - registeredAtMs;
    const unheardMs = Math.min(sinceMs, withoutSchedulerMs());
    if (unheardMs >= UNHEARD_MS) return;
    await delay(UNHEARD_MS - unheardMs, undefined, { signal: stopping }).catch(() => {});
  }
}

const healthFieldsSchema = healthSchema.pick({ clusterId: true, epoch: true, takesOver: true });

/** @throws Error in words when it is not a scheduler's */
function healthIn({ status, body }: Answer): z.infer<typeof healthFieldsSchema> {
  const health = healthFieldsSchema.safeParse(body);
  if (health.success) return health.data;
  throw new Error(
    status === 200 ? 'its answer to GET /health tells of no cluster' : `it answered ${status} to GET /health`,
  );
}

/** @returns what went wrong, in words */
async function register(means: RegistrationMeans, stopping: AbortSignal): Promise<string | null> {
  const { scheduler, node, tls, membership, hasLiveOfOthers } = means;
  const signal = AbortSignal.any([stopping, AbortSignal.timeout(ANSWER_WITHIN_MS)]);
  try {
    await tls?.provide(signal);
    const client = new SchedulerClient(scheduler, tls === null ? null : () => tls.connection());
    const askHealth = async () => healthIn(await client.ask('GET', '/health', { signal }));
    const health = await askHealth();
    // One without records takes this agent's cluster for its own; any other has to be joined.
    const takesOver = health.takesOver === true && membership.clusterId !== null;
    if (!takesOver && hasLiveOfOthers(health.clusterId)) {
      return `${scheduler} belongs to cluster ${health.clusterId} now, and instances of cluster ${membership.clusterId} run here. They are left alone; to end them and join anew, start this agent with --on-exit stop and end it once.`;
    }
    // The scheduler may connect before it has answered.
    if (!takesOver) membership.beginJoining(health.clusterId);
    const answer = await introduce(client, means, health.clusterId, signal);
    if (answer.status >= 300) {
      if (tls !== null && answer.status === 401) tls.refused();
      return refusalOf(answer, node);
    }
    const joined = takesOver ? await askHealth() : health;
    await membership.join(joined.clusterId, joined.epoch);
    return null;
  } catch (error) {
    // Not the scheduler's: what it has answered could not be recorded here.
    if (error instanceof MorchError) return error.message;
    if (isUntrusted(codeOf(error))) await tls?.distrust();
    return `${scheduler} does not answer as a scheduler (${reasonOf(error)}); trying again`;
  } finally {
    membership.endJoining();
  }
}

/** By its certificate; without TLS by a token. */
async function introduce(
  client: SchedulerClient,
  { node, tls, membership, joinToken }: RegistrationMeans,
  clusterId: string,
  signal: AbortSignal,
): Promise<Answer> {
  const registerAs = (token: string | undefined) => client.ask('POST', '/nodes', { token, body: node, signal });
  if (tls !== null) return registerAs(undefined);
  // A node that is known speaks for itself: its join token may have expired, or let in as many as it may.
  const isKnown = membership.clusterId === clusterId && node.agentToken !== undefined;
  const answer = await registerAs(isKnown ? node.agentToken : await joinToken());
  return isKnown && answer.status === 401 ? registerAs(await joinToken()) : answer;
}

function refusalOf(answer: Answer, { name, host, port }: RegisterNode): string {
  const problem = problemIn(answer);
  const told = problem === undefined ? `answer ${answer.status}` : `${problem.code}: ${problem.detail}`;
  if (problem?.code === 'UNAUTHENTICATED') {
    return `${told} Give this agent a join token that is good, with --join-token-file: the scheduler has one in join.token of its data directory, morch token create --role join makes others.`;
  }
  if (problem?.code === 'NODE_EXISTS') return `${told} Another agent is called ${name}: start this one with --name.`;
  if (problem?.code === 'NODE_UNREACHABLE') {
    return `${told} The scheduler must be able to reach ${host}:${port}: set --host, or --advertise HOST:PORT.`;
  }
  return told;
}

/** @throws MorchError INVALID_INPUT when there is none */
export async function joinTokenIn(file: string): Promise<string> {
  const text = await readPrivateFile(file).catch((cause: Error) => {
    throw new MorchError('INVALID_INPUT', `--join-token-file cannot be read: ${cause.message}`, { cause });
  });
  if (text !== null && text !== '') return text;
  throw new MorchError('INVALID_INPUT', `--join-token-file ${file} ${text === null ? 'is not there' : 'is empty'}`);
}

function reasonOf(error: unknown): string {
  const { message } = error as Error;
  return codeOf(error) ?? message.split('\n')[0] ?? 'no answer';
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
