/**
 * Every kind of failure that crosses a process: one table of code → HTTP status, CLI exit code, title.
 * Thrown as MorchError anywhere, turned into `application/problem+json` (RFC 9457) by the two HTTP layers.
 */
import { z } from 'zod';

interface ErrorKind {
  readonly status: number;
  readonly exitCode: 1 | 2 | 3 | 4 | 5 | 6;
  readonly title: string;
}

export const ERRORS = {
  BAD_JSON: { status: 400, exitCode: 4, title: 'The body is not valid JSON' },
  INVALID_INPUT: { status: 400, exitCode: 4, title: 'The input does not fit the schema' },
  UNAUTHENTICATED: { status: 401, exitCode: 6, title: 'A valid token is needed' },
  FORBIDDEN: { status: 403, exitCode: 6, title: 'The token does not allow this' },
  CROSS_SITE: { status: 403, exitCode: 6, title: 'Pages of other sites may not call this' },
  NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such route' },
  WORKLOAD_NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such workload' },
  INSTANCE_NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such instance' },
  NODE_NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such node' },
  SECRET_NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such secret' },
  TOKEN_NOT_FOUND: { status: 404, exitCode: 3, title: 'There is no such token' },
  PROCESS_NOT_FOUND: { status: 404, exitCode: 3, title: 'No instance of this agent has that process id' },
  METHOD_NOT_ALLOWED: { status: 405, exitCode: 4, title: 'The route does not have this method' },
  REQUEST_TIMEOUT: { status: 408, exitCode: 5, title: 'The request did not arrive in time' },
  WORKLOAD_EXISTS: { status: 409, exitCode: 1, title: 'A live workload has this id' },
  INSTANCE_EXISTS: { status: 409, exitCode: 1, title: 'A live instance has this id' },
  NODE_EXISTS: { status: 409, exitCode: 1, title: 'Another agent holds this node name' },
  NODE_IN_USE: { status: 409, exitCode: 1, title: 'The node still holds live instances' },
  SECRET_IN_USE: { status: 409, exitCode: 1, title: 'Workloads still need the secret' },
  NOT_POSSIBLE: { status: 409, exitCode: 1, title: 'Not possible in this state' },
  IDEMPOTENCY_CONFLICT: { status: 409, exitCode: 1, title: 'This Idempotency-Key was used with another body' },
  WRONG_CLUSTER: { status: 409, exitCode: 1, title: 'The agent belongs to another cluster' },
  STALE_EPOCH: { status: 409, exitCode: 1, title: 'The command comes from an earlier scheduler term' },
  STALE_SESSION: { status: 409, exitCode: 1, title: 'The command does not belong to the present session' },
  STALE_GENERATION: { status: 409, exitCode: 1, title: 'The agent knows a later generation of this instance' },
  EVENTS_GONE: { status: 410, exitCode: 1, title: 'Events from this position are no longer kept' },
  VERSION_MISMATCH: { status: 412, exitCode: 1, title: 'The workload has another version' },
  BODY_TOO_LARGE: { status: 413, exitCode: 4, title: 'The body is too large' },
  NOT_JSON: { status: 415, exitCode: 4, title: 'The body is not application/json' },
  WRONG_HOST: { status: 421, exitCode: 6, title: 'The Host is not one that is served here' },
  START_FAILED: { status: 422, exitCode: 1, title: 'The program could not be started' },
  FEATURE_UNSUPPORTED: { status: 422, exitCode: 1, title: 'The node cannot do what the workload asks for' },
  NODE_UNREACHABLE: { status: 422, exitCode: 5, title: 'The node does not answer' },
  TOO_MANY_REQUESTS: { status: 429, exitCode: 5, title: 'Too many requests' },
  HEADER_TOO_LARGE: { status: 431, exitCode: 4, title: 'The header is too large' },
  SCHEDULER_UNREACHABLE: { status: 503, exitCode: 5, title: 'The scheduler does not answer' },
  REBUILDING: { status: 503, exitCode: 5, title: 'The scheduler is learning from its agents what runs' },
  NOT_LEADING: { status: 503, exitCode: 5, title: 'Another scheduler of the cluster commands its agents' },
  SHUTTING_DOWN: { status: 503, exitCode: 5, title: 'The process is shutting down' },
  STILL_ALIVE: { status: 504, exitCode: 1, title: 'The kernel has not let go of the processes yet' },
  STORE_UNWRITABLE: { status: 507, exitCode: 1, title: 'The store cannot be written' },
  AUDIT_UNWRITABLE: { status: 507, exitCode: 1, title: 'The audit log cannot be written' },
  AUDIT_BROKEN: { status: 500, exitCode: 1, title: 'The audit log is not as it was written' },
  INTERNAL: { status: 500, exitCode: 1, title: 'Unexpected failure' },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** What the kernel said no to; `errnoCode` is its name, such as ENOENT. */
export interface SystemFailure {
  syscall: string;
  errno: number;
  errnoCode: string;
}

/** One thing wrong with the input; `pointer` is a JSON pointer into the body, the query or the headers. */
export interface InputError {
  pointer: string;
  message: string;
}

export class MorchError extends Error {
  readonly code: ErrorCode;
  readonly errors: InputError[] | undefined;
  readonly system: SystemFailure | undefined;

  /** @param detail what failed, which one, why, and what to do next */
  constructor(
    code: ErrorCode,
    detail: string,
    more: { errors?: InputError[] | undefined; system?: SystemFailure | undefined; cause?: unknown } = {},
  ) {
    super(detail, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'MorchError';
    this.code = code;
    this.errors = more.errors;
    this.system = more.system;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.string(),
    requestId: z.string().optional(),
    errors: z.array(z.object({ pointer: z.string(), message: z.string() })).optional(),
    syscall: z.string().optional(),
    errno: z.number().int().optional(),
    errnoCode: z.string().optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details' });
export type Problem = z.infer<typeof problemSchema>;

/** Why a text is no JSON, without the piece of it that the parser quotes: it may hold a secret. */
export function jsonFault(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/, (\.\.\.)?".*"(\.\.\.)? is not valid JSON$/s, '');
}

/** The answer's body for any thrown value; anything but a MorchError is INTERNAL and tells no details. */
export function problemOf(error: unknown, requestId?: string): Problem {
  const e =
    error instanceof MorchError ? error : new MorchError('INTERNAL', 'Unexpected failure; the log has the cause');
  return {
    type: `urn:morch:error:${e.code.toLowerCase().replaceAll('_', '-')}`,
    title: ERRORS[e.code].title,
    status: e.status,
    detail: e.message,
    code: e.code,
    ...(requestId === undefined ? {} : { requestId }),
    ...(e.errors === undefined ? {} : { errors: e.errors }),
    ...e.system,
  };
}

/** What an answer with a problem of this status says beside it. */
export function headersOfStatus(status: number): Record<string, string> {
  if (status === 401) return { 'WWW-Authenticate': 'Bearer' };
  return status === 429 ? { 'Retry-After': '1' } : {};
}

/** The error that a problem answer stood for, on the calling side. */
export function errorOfProblem(problem: Problem): MorchError {
  const code = problem.code in ERRORS ? (problem.code as ErrorCode) : 'INTERNAL';
  const { syscall, errno, errnoCode } = problem;
  const system =
    syscall !== undefined && errno !== undefined && errnoCode !== undefined ? { syscall, errno, errnoCode } : undefined;
  return new MorchError(code, problem.detail, { errors: problem.errors, system });
}

/** Of what is wrong with one input, and the characters of a name in it: an answer is no longer than a few screens. */
const ERRORS_TOLD = 100;
const NAME_TOLD = 200;

/**
 * Checks a value from outside.
 *
 * @param what names the value in the error: `body`, `query`
 * @throws MorchError INVALID_INPUT with one entry per problem, unknown fields included
 */
export function parseInput<S extends z.ZodType>(schema: S, value: unknown, what = 'body'): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors: InputError[] = [];
  let count = 0;
  for (const issue of result.error.issues) {
    for (const wrong of inputErrorsOf(issue)) {
      count += 1;
      if (errors.length < ERRORS_TOLD) errors.push(wrong);
    }
  }
  const first = errors[0];
  const summary =
    first === undefined ? 'does not fit' : `${first.pointer === '' ? '' : `${first.pointer}: `}${first.message}`;
  const more = count > 1 ? ` (and ${count - 1} more)` : '';
  throw new MorchError('INVALID_INPUT', `The ${what} is not valid: ${summary}${more}`, { errors });
}

/** One step of a JSON pointer (RFC 6901), of a very long name its beginning. */
function pointerPart(name: string): string {
  return `/${name.slice(0, NAME_TOLD).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

function* inputErrorsOf(issue: z.core.$ZodIssue): Generator<InputError> {
  const pointer = issue.path.map((part) => pointerPart(String(part))).join('');
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) yield { pointer: pointer + pointerPart(key), message: 'unknown field' };
    return;
  }
  // A key of a record: what is wrong with it, rather than that something is.
  const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  yield { pointer, message };
}
