/** Contract-shaped things for the tests of the command line; the schemas check them, so that they stay so. */
import { type Node, nodeSchema } from '../../contract/node';
import {
  type Instance,
  instanceSchema,
  specWithDefaults,
  type Workload,
  workloadInputSchema,
  workloadSchema,
} from '../../contract/workload';

const AT = '2026-01-01T00:00:00.000Z';

export function anInstance(id: string, more: Partial<Instance>): Instance {
  const instance: Instance = {
    id,
    generation: 1,
    run: 1,
    status: 'running',
    statusReason: null,
    node: 'n1',
    pid: 4711,
    shimPid: 4710,
    startedAt: AT,
    exit: null,
    attempts: 1,
    usage: null,
    ...more,
  };
  instanceSchema.omit({ exit: true }).parse(instance);
  return instance;
}

export function aWorkload(id: string, more: Partial<Workload>): Workload {
  const spec = specWithDefaults(workloadInputSchema.parse({ id, script: `/opt/${id}.sh` }), id);
  const workload: Workload = {
    ...spec,
    uid: `uid-of-${id}`,
    status: 'running',
    statusReason: null,
    counts: { running: 1 },
    version: 1,
    createdAt: AT,
    updatedAt: AT,
    attempts: 1,
    ...more,
  };
  workloadSchema.omit({ instances: true }).parse(workload);
  return workload;
}

export function aNode(id: string, more: Partial<Node> = {}): Node {
  const node: Node = {
    id,
    host: '127.0.0.1',
    port: 5001,
    labels: {},
    status: 'healthy',
    statusReason: null,
    schedulable: true,
    drain: 'none',
    capacity: { cpuMillis: 2_000, memoryBytes: 1024 ** 3 },
    allocated: { cpuMillis: 500, memoryBytes: 0 },
    usage: { cpuPercent: 12, memoryPercent: 34, loadAverage: [0, 0, 0] },
    features: [],
    version: '0.1.0',
    lastContactAt: AT,
    instanceCount: 1,
    staleCopies: 0,
    ...more,
  };
  nodeSchema.parse(node);
  return node;
}
