/** What each route of the agent does: checks the input, asks who may command, calls the supervisor, answers. */
import type { ServerResponse } from 'node:http';
import type { z } from 'zod';
import {
  type AgentStatus,
  type StartInstance,
  startBatchSchema,
  startInstanceSchema,
  stopBatchSchema,
  stopInstanceSchema,
} from '../../contract/agentApi';
import { drillCommandSchema, durationOf } from '../../contract/drill';
import { MorchError, parseInput, problemOf } from '../../contract/errors';
import { instanceIdSchema } from '../../contract/fields';
import { frameHead, LOG_FRAMES_MEDIA } from '../../contract/logFrames';
import {
  type agentInstancesQuerySchema,
  type agentLogsQuerySchema,
  type agentStatusQuerySchema,
  DROPPED_BYTES_HEADER,
  METRICS_MEDIA,
} from '../../contract/routes';
import { resolveSince } from '../../contract/since';
import type { Drill } from '../drill';
import { countDropped } from '../logDropped';
import type { LogFiles, LogOwner } from '../logs/files';
import { type LogBlock, type LogRequest, readLogs } from '../logs/reading';
import type { Commander, Membership } from '../membership';
import type { Origins } from '../origins';
import type { Session, SessionClaim } from '../session';
import type { Supervisor } from '../supervisor';
import { readCommand } from './body';
import type { Call, Handlers } from './router';

export interface HandlerMeans {
  supervisor: Supervisor;
  membership: Membership;
  session: Session;
  logFiles: LogFiles;
  origins: Origins;
  status(withProcesses: boolean): AgentStatus;
  drill: Pick<Drill, 'begin'>;
  /** In the text form of Prometheus. */
  metrics(): Promise<string>;
}

export function makeHandlers({
  supervisor,
  membership,
  session,
  logFiles,
  origins,
  status,
  drill,
  metrics,
}: HandlerMeans): Handlers {
  const start = async (command: StartInstance) => {
    membership.check(command);
    const refusal = session.refusalOfStart(command);
    if (refusal !== null) throw refusal;
    return supervisor.start(command);
  };

  const admitStop = async (command: Commander & SessionClaim) => {
    await membership.admitStop(command);
    const refusal = session.refusalOfStop(command);
    if (refusal !== null) throw refusal;
  };

  /** Each of a batch by itself: an answer or a problem. */
  const settleAll = async <T>(items: T[], one: (item: T) => Promise<unknown>, requestId: string) =>
    Promise.all(
      items.map(async (item) => {
        try {
          return await one(item);
        } catch (error) {
          return problemOf(error, requestId);
        }
      }),
    );

  return {
    'GET /status': ({ response, query }) => {
      const { processes } = query as z.output<typeof agentStatusQuerySchema>;
      sendJson(response, 200, status(processes));
    },

    'POST /start': async ({ request, response, requestId }) => {
      const { value, isBatch } = await readCommand(request);
      if (isBatch) {
        const { instances } = parseInput(startBatchSchema, value);
        const results = await settleAll(instances, start, requestId);
        sendJson(response, 200, { results });
        return;
      }
      sendJson(response, 201, await start(parseInput(startInstanceSchema, value)));
    },

    'POST /stop': async ({ request, response, requestId }) => {
      const { value, isBatch } = await readCommand(request);
      if (isBatch) {
        const { instances } = parseInput(stopBatchSchema, value);
        const begin = async (target: (typeof instances)[number]) => {
          await admitStop(target);
          return supervisor.beginStop(target);
        };
        const results = await settleAll(instances, begin, requestId);
        sendJson(response, 200, { results });
        return;
      }
      const target = parseInput(stopInstanceSchema, value);
      const isStartersOwn = target.clusterId === undefined && supervisor.isStartedAlone(target);
      if (!isStartersOwn) await admitStop(target);
      sendJson(response, 200, await supervisor.stop(target));
    },

    'POST /drill': async ({ request, response }) => {
      const { value } = await readCommand(request);
      const command = parseInput(drillCommandSchema, value);
      membership.check(command);
      // One that was held up on its way may be as harmful as a start that was.
      const refusal = session.refusalOfStart(command);
      if (refusal !== null) throw refusal;
      response.once('finish', () => drill.begin(command));
      sendJson(response, 202, { kind: command.kind, durationMs: durationOf(command) });
    },

    'GET /instances': ({ response, query }) => {
      const asker = query as z.output<typeof agentInstancesQuerySchema>;
      membership.check(asker);
      sendJson(response, 200, { instances: supervisor.keptOf(asker.clusterId, origins) });
    },

    'GET /instances/:id/logs': async (call) => {
      const query = call.query as z.output<typeof agentLogsQuerySchema>;
      const { stream, since, tail, from, follow, frames } = query;
      const owner = await findLogOwner(call.params.id!, query.uid);
      const leaving = new AbortController();
      call.response.on('close', () => leaving.abort());
      const request: LogRequest = {
        directory: logFiles.directoryOf(owner),
        stream,
        sinceMs: since === undefined ? undefined : resolveSince(since, Date.now()),
        tail,
        from,
        follow,
        mayGrow: () => supervisor.mayWrite(owner),
        signal: leaving.signal,
      };
      const dropped = follow ? 0 : await countDropped(request, supervisor.dropsOf(owner));
      await sendLogs(call, request, frames, dropped);
    },

    'GET /events': () => {
      throw new MorchError('INVALID_INPUT', 'GET /events speaks WebSocket only; connect with Upgrade: websocket.');
    },

    'GET /metrics': async ({ response }) => {
      response.writeHead(200, { 'Content-Type': `${METRICS_MEDIA}; charset=utf-8` });
      response.end(await metrics());
    },

    'GET /livez': ({ response }) => sendLine(response, 200, 'ok'),

    'GET /readyz': ({ response }) =>
      supervisor.isClosing ? sendLine(response, 503, 'stopping') : sendLine(response, 200, 'ok'),
  };

  /** With a uid, also of an instance whose record has been forgotten while its output is still there. */
  async function findLogOwner(instanceId: string, uid: string | undefined): Promise<LogOwner> {
    const known = supervisor.findOwner(instanceId, uid);
    if (known !== null) return known;
    if (uid !== undefined && instanceIdSchema.safeParse(instanceId).success) {
      const owner = { uid, slot: instanceId.slice(instanceId.indexOf('.') + 1) };
      if (await logFiles.exists(owner)) return owner;
    }
    throw new MorchError('INSTANCE_NOT_FOUND', `This agent knows no instance ${instanceId}.`);
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

function sendLine(response: ServerResponse, status: number, line: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' });
  response.end(`${line}\n`);
}

/** Waits for a slow reader; ends quietly when it leaves. */
async function sendLogs(
  { request, response }: Call,
  logs: LogRequest,
  frames: boolean,
  droppedBytes: number,
): Promise<void> {
  response.writeHead(200, {
    'Content-Type': frames ? LOG_FRAMES_MEDIA : 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
    ...(droppedBytes === 0 ? {} : { [DROPPED_BYTES_HEADER]: droppedBytes }),
  });
  response.flushHeaders();
  if (request.method !== 'HEAD') {
    for await (const block of readLogs(logs)) {
      if (response.destroyed) return;
      if (!writeBlock(response, block, frames)) await drained(response);
    }
  }
  response.end();
}

/** @returns false when the reader is to be waited for */
function writeBlock(response: ServerResponse, { bytes, position }: LogBlock, frames: boolean): boolean {
  if (frames) response.write(frameHead(bytes.length, position));
  return bytes.length === 0 ? !response.writableNeedDrain : response.write(bytes);
}

/** Resolves when the reader takes more, or has left. */
function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed || !response.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
