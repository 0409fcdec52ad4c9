/** Ids as people type them: any unique prefix of a workload's or node's id. An exact id always wins. */
import { MorchError } from '../contract/errors';
import type { Node } from '../contract/node';
import type { Workload } from '../contract/workload';
import type { Client } from './client';

export type Resolution =
  | { kind: 'found'; id: string }
  | { kind: 'ambiguous'; candidates: string[] }
  | { kind: 'unknown'; nearest: string | null };

/** Pure. @param nearest of an unknown id: the known one with the least edit distance, if it is near at all */
export function chooseId(typed: string, known: readonly string[]): Resolution {
  if (known.includes(typed)) return { kind: 'found', id: typed };
  const candidates = known.filter((id) => id.startsWith(typed)).sort();
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return { kind: 'found', id: only };
  if (candidates.length > 1 && typed !== '') return { kind: 'ambiguous', candidates };
  return { kind: 'unknown', nearest: nearestOf(typed, known) };
}

function nearestOf(typed: string, known: readonly string[]): string | null {
  let nearest: string | null = null;
  let least = Math.max(2, Math.ceil(typed.length / 2)) + 1;
  for (const id of known) {
    const distance = editDistance(typed, id);
    if (distance < least) {
      least = distance;
      nearest = id;
    }
  }
  return nearest;
}

/** Levenshtein's: insertions, deletions, substitutions. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      current.push(
        Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (previous[column - 1] ?? 0) + same),
      );
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

type Sort = 'workload' | 'node';

const LIST: Record<Sort, (client: Client) => Promise<string[]>> = {
  workload: async (client) => (await client.list<Workload>('/workloads', 'workloads')).map((w) => w.id),
  node: async (client) => (await client.list<Node>('/nodes', 'nodes')).map((n) => n.id),
};

export const workloadPath = (id: string): string => `/workloads/${encodeURIComponent(id)}`;
export const nodePath = (id: string): string => `/nodes/${encodeURIComponent(id)}`;

/**
 * @param typed an id, a unique prefix of one, or `workload/<id>` as `-o name` prints it
 * @returns the full id
 * @throws MorchError WORKLOAD_NOT_FOUND naming the nearest; INVALID_INPUT with the candidates
 */
export async function resolveWorkload(client: Client, typed: string): Promise<string> {
  return resolve(client, 'workload', typed);
}

/**
 * For what is of a workload's instances, all or one: `web`, `web.0`.
 *
 * @param instance as given by a flag, which wins: `web.0`, or just `0`
 * @throws as `resolveWorkload`
 */
export async function resolveInstances(
  client: Client,
  typed: string,
  instance: string | undefined,
): Promise<{ id: string; instance: string | undefined }> {
  // A workload's id has no dot in it, an instance's has one.
  const dot = typed.indexOf('.');
  const id = await resolveWorkload(client, dot > 0 ? typed.slice(0, dot) : typed);
  const slot = instance?.slice(instance.indexOf('.') + 1) ?? (dot > 0 ? typed.slice(dot + 1) : undefined);
  return { id, instance: slot === undefined ? undefined : `${id}.${slot}` };
}

/** The same for nodes; NODE_NOT_FOUND. */
export async function resolveNode(client: Client, typed: string): Promise<string> {
  return resolve(client, 'node', typed);
}

async function resolve(client: Client, sort: Sort, typed: string): Promise<string> {
  const id = typed.startsWith(`${sort}/`) ? typed.slice(sort.length + 1) : typed;
  // The common case, an exact id, needs no list of everything.
  if (id !== '' && (await exists(client, sort, id))) return id;
  return demand(sort, id, chooseId(id, await LIST[sort](client)));
}

async function exists(client: Client, sort: Sort, id: string): Promise<boolean> {
  try {
    await client.get(sort === 'workload' ? workloadPath(id) : nodePath(id));
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof MorchError && error.status === 404;
}

function demand(sort: Sort, typed: string, resolution: Resolution): string {
  if (resolution.kind === 'found') return resolution.id;
  if (resolution.kind === 'ambiguous') {
    throw new MorchError(
      'INVALID_INPUT',
      `"${typed}" is the beginning of several ${sort} ids: ${some(resolution.candidates)}`,
    );
  }
  const more = resolution.nearest === null ? '' : `; did you mean "${resolution.nearest}"?`;
  throw new MorchError(
    sort === 'workload' ? 'WORKLOAD_NOT_FOUND' : 'NODE_NOT_FOUND',
    `There is no ${sort} "${typed}"${more}`,
  );
}

function some(ids: readonly string[]): string {
  const shown = ids.slice(0, 20).join(', ');
  return ids.length > 20 ? `${shown} and ${ids.length - 20} more` : shown;
}

/**
 * For `describe`: a workload or a node. Exact ids win over prefixes, workloads over nodes;
 * `workload/<id>` and `node/<id>` say which is meant.
 */
export async function resolveAny(client: Client, typed: string): Promise<{ sort: Sort; id: string }> {
  if (typed.startsWith('node/')) return { sort: 'node', id: await resolveNode(client, typed) };
  if (typed.startsWith('workload/')) return { sort: 'workload', id: await resolveWorkload(client, typed) };
  if (typed !== '') {
    for (const sort of ['workload', 'node'] as const) {
      if (await exists(client, sort, typed)) return { sort, id: typed };
    }
  }
  const [workloads, nodes] = await Promise.all([LIST.workload(client), LIST.node(client)]);
  const asWorkload = chooseId(typed, workloads);
  if (asWorkload.kind !== 'unknown') return { sort: 'workload', id: demand('workload', typed, asWorkload) };
  const asNode = chooseId(typed, nodes);
  if (asNode.kind !== 'unknown') return { sort: 'node', id: demand('node', typed, asNode) };
  const nearest = nearestOf(typed, [...workloads, ...nodes]);
  const more = nearest === null ? '' : `; did you mean "${nearest}"?`;
  throw new MorchError('WORKLOAD_NOT_FOUND', `There is no workload and no node "${typed}"${more}`);
}
