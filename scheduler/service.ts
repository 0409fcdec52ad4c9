/**
 * SchedulerApi on the state and the control loop: each act changes records, wakes the loop, and waits until it is
 * durable. Over 400 lines because it is the one list of what users may do; each entry is a few lines.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { BlackBoxRecord } from '../contract/blackBox';
import type { Drill, DrillInput, DrillPreview } from '../contract/drill';
import { MorchError } from '../contract/errors';
import type { MorchEvent } from '../contract/events';
import type { Health, HealthCheck, HealthSummary, RecoveryMetrics, Released } from '../contract/health';
import type { Node, NodeCertificate, NodeDetail, RegisterNode } from '../contract/node';
import type { Secret } from '../contract/secrets';
import { isTerminal } from '../contract/states';
import { VERSION } from '../contract/version';
import { type Instance, specWithDefaults, type Workload, type WorkloadSpec } from '../contract/workload';
import type { Caller } from './access/guard';
import type {
  IdempotencyKey,
  LogSource,
  Page,
  ReadyCheck,
  SchedulerApi,
  SubmitInput,
  Submitted,
  WorkloadFilter,
  WorkloadPage,
} from './api';
import type { AuditLog } from './audit/log';
import { backupOf } from './backup';
import type { BlackBox } from './blackBox/blackBox';
import type { ControlLoop } from './controlLoop';
import type { InstanceRecord, NodeRecord, WorkloadRecord } from './core/model';
import { compareSpecs, idFromProgram } from './core/specChange';
import { Drills } from './drills';
import type { Journal } from './journal';
import { JsonText } from './jsonText';
import { previewLoss } from './lossPreview';
import type { NodeRegistry } from './nodeRegistry';
import { afterOf, encodeCursor, pageOf, paginate, seqOfCursor, slotKey } from './pages';
import { reconcileForAnswer } from './reconcile';
import { metricsOf } from './recoveryLog';
import { revertWorkload } from './revert';
import { isText, type SecretRecord, type Secrets } from './secrets/secrets';
import type { State } from './state';
import { keys } from './store/keys';
import type { Store } from './store/store';
import {
  healthOf,
  instanceView,
  nodeDetailView,
  nodeView,
  orderedInstances,
  statusOf,
  summaryOf,
  workloadJson,
  workloadView,
} from './views';

const METRICS_WITHIN_MS = 2_000;
const IDEMPOTENCY_KEPT_MS = 24 * 3_600_000;
const SECRET_USERS_TOLD = 100;
/** With their workload; beyond them they are listed by themselves. */
const INSTANCES_TOLD = 1_000;
/** A list that has to look at many workloads looks at so many at a time as take this. */
const LIST_TURN_MS = 5;

interface IdempotencyRecord {
  bodyHash: string;
  atMs: number;
  workload: Workload;
}

export class Service implements SchedulerApi {
  /** Submissions under way by their Idempotency-Key, so that two at once make one workload. */
  private readonly submitting = new Map<string, { bodyHash: string; result: Promise<Submitted> }>();

  private readonly drills: Drills;

  constructor(
    private readonly state: State,
    private readonly journal: Journal,
    private readonly loop: ControlLoop,
    private readonly registry: NodeRegistry,
    private readonly blackBox: BlackBox,
    private readonly secrets: Secrets,
    private readonly audit: Pick<AuditLog, 'unwritable'>,
    private readonly store: Store,
    private readonly startedAtMs: number,
  ) {
    this.drills = new Drills(state, registry);
  }

  // ---- health

  health(): Health {
    return healthOf(this.state, {
      store: this.store.kind,
      unwritable: this.journal.unwritable,
      deposedBy: this.registry.deposedBy,
      takesOver: this.registry.takesOver,
      unreadableSecrets: this.secrets.unreadableCount,
      auditUnwritable: this.audit.unwritable,
      version: VERSION,
      uptimeMs: Date.now() - this.startedAtMs,
    });
  }

  healthSummary(): HealthSummary {
    return summaryOf(this.state, this.health().status);
  }

  checkNodes(): Promise<HealthCheck> {
    return this.registry.check();
  }

  readyChecks(): ReadyCheck[] {
    const { unwritable } = this.journal;
    const auditUnwritable = this.audit.unwritable;
    const { deposedBy } = this.registry;
    return [
      { name: 'state loaded', ok: true },
      { name: 'store', ok: unwritable === null, ...(unwritable === null ? {} : { detail: unwritable }) },
      {
        name: 'audit log',
        ok: auditUnwritable === null,
        ...(auditUnwritable === null ? {} : { detail: auditUnwritable }),
      },
      {
        name: 'leading',
        ok: deposedBy === null,
        ...(deposedBy === null ? {} : { detail: `agents obey a scheduler of epoch ${deposedBy}` }),
      },
    ];
  }

  recoveryMetrics(): RecoveryMetrics {
    return metricsOf(this.state.recoveries);
  }

  async releaseRecovery(): Promise<Released> {
    await this.proveWritable();
    const released: Released['released'] = [
      ...(this.registry.releaseBrake() ? ['brake' as const] : []),
      ...(this.registry.rebuild.end('operator') ? ['rebuilding' as const] : []),
    ];
    await this.journal.commit();
    return { released };
  }

  /** Before what cannot be taken back. @throws MorchError STORE_UNWRITABLE */
  private async proveWritable(): Promise<void> {
    this.journal.assertWritable();
    this.state.saveMeta();
    await this.journal.commit();
  }

  // ---- nodes

  listNodes(page: Page): { nodes: Node[]; nextCursor: string | null } {
    const { items, nextCursor } = pageOf(this.state.lists.nodeIds.after(afterOf(page)), (id) => id, page.limit);
    return { nodes: items.map((id) => nodeView(this.state, this.nodeRecord(id))), nextCursor };
  }

  node(id: string): NodeDetail {
    return nodeDetailView(this.state, this.nodeRecord(id));
  }

  nodeMetrics(id: string): Promise<string> {
    return this.registry.clientOf(this.nodeRecord(id)).metrics(METRICS_WITHIN_MS);
  }

  async issueNodeCertificate(id: string, request: string, caller: Caller, where: string): Promise<NodeCertificate> {
    this.journal.assertWritable();
    const issued = await this.registry.issueCertificate(id, request, caller, where);
    await this.journal.commit();
    return issued;
  }

  async registerNode(input: RegisterNode, caller: Caller): Promise<{ created: boolean; node: Node }> {
    this.journal.assertWritable();
    const { created, node } = await this.registry.register(input, caller);
    await this.journal.commit();
    return { created, node: nodeView(this.state, node) };
  }

  async forgetNode(id: string, force: boolean): Promise<void> {
    this.journal.assertWritable();
    const node = this.nodeRecord(id);
    const held = this.state.instancesOn(id).size;
    if (held > 0 && !force) {
      throw new MorchError(
        'NODE_IN_USE',
        `Node ${id} still holds ${held} live ${held === 1 ? 'instance' : 'instances'}. Drain it first (morch drain ${id}), or use ?force=true.`,
      );
    }
    await this.proveWritable();
    this.registry.forgetNode(node);
    await this.journal.commit();
  }

  cordonNode(id: string): Promise<Node> {
    return this.changeNode(id, (node) => this.registry.cordon(node));
  }

  uncordonNode(id: string): Promise<Node> {
    return this.changeNode(id, (node) => this.registry.uncordon(node));
  }

  drainNode(id: string, deadlineMs: number): Promise<Node> {
    return this.changeNode(id, (node) => this.registry.drain(node, deadlineMs));
  }

  previewDrill(id: string): DrillPreview {
    const node = this.nodeRecord(id);
    return { node: id, instances: previewLoss(this.state, node), refusal: this.drills.refusalOf(node) };
  }

  async drillNode(id: string, drill: DrillInput): Promise<Drill> {
    this.journal.assertWritable();
    const begun = await this.drills.begin(this.nodeRecord(id), drill);
    await this.journal.commit();
    return begun;
  }

  private async changeNode(id: string, change: (node: NodeRecord) => void): Promise<Node> {
    this.journal.assertWritable();
    const node = this.nodeRecord(id);
    const { cordoned, drain } = node;
    change(node);
    await this.journal.commit(async () => {
      Object.assign(node, { cordoned, drain });
      this.state.saveNode(node);
      this.state.untell((event) => event.node === id && event.workload === undefined);
    });
    return nodeView(this.state, node);
  }

  // ---- workloads

  async listWorkloads(filter: WorkloadFilter, page: Page): Promise<JsonText<WorkloadPage>> {
    const isOfAll = filter.status === undefined && filter.node === undefined && filter.label === undefined;
    const key = `${page.limit} ${page.cursor ?? ''}`;
    const known = isOfAll ? this.state.lists.pageOf<JsonText<WorkloadPage>>(key) : undefined;
    if (known !== undefined) return known;
    let isOfOneTurn = true;
    let lines = '';
    let count = 0;
    let last = '';
    let nextCursor: string | null = null;
    let turnEndsMs = performance.now() + LIST_TURN_MS;
    const { lists } = this.state;
    let ids = lists.workloadIds.after(afterOf(page));
    for (let next = ids.next(); next.done !== true; next = ids.next()) {
      const workload = this.state.workloadById(next.value);
      if (workload !== undefined && this.matches(workload, filter)) {
        if (count === page.limit) {
          nextCursor = encodeCursor(last);
          break;
        }
        lines += `${count === 0 ? '' : ','}${lists.lineOf(workload.uid, () => JSON.stringify(workloadView(this.state, workload)))}`;
        count += 1;
        last = next.value;
      }
      if (performance.now() < turnEndsMs) continue;
      isOfOneTurn = false;
      // What comes and goes meanwhile moves the others, so it goes on after the present one.
      await new Promise((resolve) => setImmediate(resolve));
      ids = lists.workloadIds.after(next.value);
      turnEndsMs = performance.now() + LIST_TURN_MS;
    }
    const text = `{"workloads":[${lines}],"nextCursor":${JSON.stringify(nextCursor)}}`;
    const answer = new JsonText<WorkloadPage>(Buffer.from(text));
    if (isOfAll && isOfOneTurn) lists.keepPage(key, answer);
    return answer;
  }

  private matches(workload: WorkloadRecord, filter: WorkloadFilter): boolean {
    const { status, node, label } = filter;
    if (status !== undefined && statusOf(this.state, workload) !== status) return false;
    if (
      label !== undefined &&
      (!Object.hasOwn(workload.spec.labels, label.key) || workload.spec.labels[label.key] !== label.value)
    )
      return false;
    if (node === undefined) return true;
    for (const instance of this.state.instancesOf(workload).values()) if (instance.node === node) return true;
    return false;
  }

  workload(id: string): Workload {
    return this.view(this.workloadRecord(id));
  }

  listInstances(id: string, page: Page): { instances: Instance[]; nextCursor: string | null } {
    const after = afterOf(page);
    const found = orderedInstances(this.state, this.workloadRecord(id), { after, limit: page.limit + 1 });
    const { items, nextCursor } = pageOf(found, (instance) => slotKey(instance.slot), page.limit);
    return { instances: items.map((instance) => instanceView(this.state, instance)), nextCursor };
  }

  submit(input: SubmitInput, idempotency?: IdempotencyKey): Promise<Submitted> {
    if (idempotency === undefined) return this.create(input);
    const key = createHash('sha256').update(idempotency.key).digest('hex');
    const underWay = this.submitting.get(key);
    if (underWay !== undefined) {
      assertSameBody(underWay.bodyHash, idempotency);
      return underWay.result.then((submitted) => ({ ...submitted, replayed: true }));
    }
    const result = this.submitOnce(input, key, idempotency).finally(() => this.submitting.delete(key));
    this.submitting.set(key, { bodyHash: idempotency.bodyHash, result });
    return result;
  }

  private async submitOnce(input: SubmitInput, key: string, idempotency: IdempotencyKey): Promise<Submitted> {
    const known = (await this.store.get(keys.idempotency(key))) as IdempotencyRecord | undefined;
    if (known !== undefined && Date.now() - known.atMs < IDEMPOTENCY_KEPT_MS) {
      assertSameBody(known.bodyHash, idempotency);
      const { id, version } = known.workload;
      return { id, version, answer: new JsonText(JSON.stringify(known.workload)), replayed: true };
    }
    return this.create(input, (workload) => {
      const record: IdempotencyRecord = { bodyHash: idempotency.bodyHash, atMs: Date.now(), workload };
      this.state.put(keys.idempotency(key), record);
      return () => this.state.delete(keys.idempotency(key));
    });
  }

  /** @param alsoStore is given what is answered, gives what takes it back */
  private async create(input: SubmitInput, alsoStore?: (answer: Workload) => () => void): Promise<Submitted> {
    this.assertChangeable();
    const id = input.id ?? this.freeId(input);
    const existing = this.state.workloadById(id);
    if (existing !== undefined && !isTerminal(this.statusOf(existing))) {
      throw new MorchError(
        'WORKLOAD_EXISTS',
        `Workload ${id} is ${this.statusOf(existing)}. Stop it first (morch stop ${id}), change it (PUT /workloads/${id}), or choose another id.`,
      );
    }
    const spec = specWithDefaults(input, id);
    const workload = existing ?? this.newWorkload(spec);
    if (existing !== undefined) this.applySpec(existing, spec, 'run');
    this.emit('workload.submitted', workload);
    reconcileForAnswer(this.state, workload);
    const { version } = workload;
    const answer = workloadJson(this.state, workload, { instances: INSTANCES_TOLD });
    const unstore = alsoStore?.(this.view(workload));
    await this.commitChange(workload, unstore);
    return { id, version, answer, replayed: false };
  }

  /**
   * Makes a change of a workload durable, and has it carried out.
   *
   * @throws MorchError STORE_UNWRITABLE; everything is as before then
   */
  private async commitChange({ uid }: WorkloadRecord, alsoUndo?: () => void): Promise<void> {
    this.loop.wake();
    await this.journal.commit(async () => {
      alsoUndo?.();
      for (const node of await revertWorkload(this.state, this.store, uid)) this.registry.relearn(node);
    });
  }

  /** @throws MorchError STORE_UNWRITABLE; REBUILDING while it is not known what is to be changed */
  private assertChangeable(): void {
    this.journal.assertWritable();
    const { deposedBy } = this.registry;
    if (deposedBy !== null) {
      throw new MorchError(
        'NOT_LEADING',
        `Another scheduler of this cluster (epoch ${deposedBy}) commands its agents; this one stands down and takes no changes. Use that one, or end it: then this one goes on.`,
      );
    }
    const { rebuilding } = this.state.meta;
    if (rebuilding?.reason !== 'damaged') return;
    throw new MorchError(
      'REBUILDING',
      'The store was damaged, and the agents are being asked what runs; changes are taken when that is known (morch health tells), or after morch recovery --release.',
    );
  }

  async apply(id: string, input: SubmitInput, ifMatch?: number): Promise<{ created: boolean; workload: Workload }> {
    this.assertChangeable();
    if (input.id !== undefined && input.id !== id) {
      throw new MorchError('INVALID_INPUT', `The body's id (${input.id}) is not the path's (${id}).`, {
        errors: [{ pointer: '/id', message: `must be ${id}, or left out` }],
      });
    }
    const spec = specWithDefaults(input, id);
    const existing = this.state.workloadById(id);
    if (existing === undefined) {
      if (ifMatch !== undefined)
        throw new MorchError('VERSION_MISMATCH', `Workload ${id} does not exist, so it has no version ${ifMatch}.`);
      const workload = this.newWorkload(spec);
      this.emit('workload.submitted', workload);
      reconcileForAnswer(this.state, workload);
      await this.commitChange(workload);
      return { created: true, workload: this.view(workload) };
    }
    assertVersion(existing, ifMatch);
    if (spec.kind !== existing.spec.kind) {
      throw new MorchError(
        'NOT_POSSIBLE',
        `Workload ${id} is a ${existing.spec.kind}; its kind cannot be changed. Stop and purge it, then submit it anew.`,
      );
    }
    const change = compareSpecs(existing.spec, spec);
    if (change !== 'none') {
      this.applySpec(existing, spec, change === 'replace' ? 'run' : 'leave');
      this.emit('workload.updated', existing);
    }
    await this.commitChange(existing);
    if (change === 'adjust') this.registry.tellWorkload(existing);
    return { created: false, workload: this.view(existing) };
  }

  async stop(id: string, purge: boolean, ifMatch?: number): Promise<Workload> {
    this.assertChangeable();
    const workload = this.workloadRecord(id);
    assertVersion(workload, ifMatch);
    if (workload.goal !== 'stop' && !isTerminal(this.statusOf(workload))) {
      workload.goal = 'stop';
      this.touch(workload);
      this.emit('workload.stopping', workload);
    }
    if (purge && !workload.purge) {
      workload.purge = true;
      // A record that ended by itself is removed like one that was stopped.
      workload.goal = 'stop';
      this.touch(workload);
    }
    const answer = this.view(workload);
    await this.commitChange(workload);
    return answer;
  }

  async restart(id: string, ifMatch?: number): Promise<Workload> {
    this.assertChangeable();
    const workload = this.workloadRecord(id);
    assertVersion(workload, ifMatch);
    this.assertNotStopping(workload);
    workload.goal = 'run';
    workload.purge = false;
    workload.revision += 1;
    this.touch(workload);
    this.emit('workload.restarted', workload);
    await this.commitChange(workload);
    return this.view(workload);
  }

  async scale(id: string, replicas: number, ifMatch?: number): Promise<Workload> {
    this.assertChangeable();
    const workload = this.workloadRecord(id);
    assertVersion(workload, ifMatch);
    if (workload.spec.kind === 'daemon')
      throw new MorchError('NOT_POSSIBLE', `Workload ${id} is a daemon: it has one instance on every fitting node.`);
    const status = this.statusOf(workload);
    if (workload.goal === 'stop' || isTerminal(status)) {
      throw new MorchError(
        'NOT_POSSIBLE',
        `Workload ${id} is ${status}. Restart it (morch restart ${id}) or submit it anew, then scale.`,
      );
    }
    const from = workload.spec.replicas;
    if (from !== replicas) {
      workload.spec = { ...workload.spec, replicas };
      workload.version += 1;
      this.touch(workload);
      this.emit('workload.scaled', workload, { from, to: replicas });
      reconcileForAnswer(this.state, workload);
    }
    await this.commitChange(workload);
    if (from !== replicas) this.registry.tellWorkload(workload);
    return this.view(workload);
  }

  async history(id: string, page: Page): Promise<{ events: MorchEvent[]; nextCursor: string | null }> {
    const { uid } = this.workloadRecord(id);
    // What the workload's status tells already is in the answer.
    await this.journal.commit();
    const after = page.cursor === undefined ? 0 : seqOfCursor(page.cursor);
    const { items, nextCursor } = pageOf(this.state.history.after(uid, after, page.limit + 1), String, page.limit);
    const found = await Promise.all(items.map((seq) => this.store.get(keys.event(seq))));
    return { events: found.filter((event) => event !== undefined) as MorchEvent[], nextCursor };
  }

  async blackBoxRecords(
    id: string,
    instance: string | undefined,
    page: Page,
  ): Promise<{ records: BlackBoxRecord[]; nextCursor: string | null }> {
    const workload = this.workloadRecord(id);
    const slot = instance?.startsWith(`${id}.`) ? instance.slice(id.length + 1) : undefined;
    if (instance !== undefined) {
      const isKnown =
        slot !== undefined && (this.state.instancesOf(workload).has(slot) || this.blackBox.has(workload.uid, slot));
      if (!isKnown) throw noSuchInstance(id, instance);
    }
    return this.blackBox.list(workload.uid, slot, page);
  }

  logSources(id: string, instance?: string): LogSource[] {
    const workload = this.workloadRecord(id);
    const all = instance === undefined ? orderedInstances(this.state, workload) : [this.instanceOf(workload, instance)];
    return all.map((i) => ({
      instanceId: i.id,
      uid: i.uid,
      nodes: inOrderOfLastPlacement(i).flatMap((nodeId) => {
        const node = this.state.nodes.get(nodeId);
        return node === undefined
          ? []
          : [{ ...this.registry.addressOf(node), id: node.id, reachable: node.status !== 'lost' }];
      }),
    }));
  }

  untilTerminal(id: string, signal: AbortSignal): Promise<void> {
    const workload = this.state.workloadById(id);
    return workload === undefined ? Promise.resolve() : this.loop.untilTerminal(workload.uid, signal);
  }

  // ---- secrets

  listSecrets(page: Page): { secrets: Secret[]; nextCursor: string | null } {
    const { items, nextCursor } = paginate(this.secrets.all, ({ name }) => name, page);
    const users = this.usersOfSecrets();
    return { secrets: items.map((record) => this.secretView(record, users.get(record.name))), nextCursor };
  }

  private secretView({ name, version, updatedAt }: SecretRecord, users: WorkloadRecord[] = []): Secret {
    const usedBy = users.slice(0, SECRET_USERS_TOLD).map(({ spec }) => spec.id);
    return { name, version, updatedAt, readable: this.secrets.isReadable(name), usedBy };
  }

  async setSecret(name: string, value: Buffer): Promise<{ created: boolean; secret: Secret }> {
    this.journal.assertWritable();
    const users = this.usersOfSecrets().get(name) ?? [];
    const variable = users
      .flatMap(({ spec }) => spec.secrets ?? [])
      .find((s) => s.name === name && s.env !== undefined);
    if (variable !== undefined && !isText(value)) {
      throw new MorchError(
        'NOT_POSSIBLE',
        `Secret ${name} is given to workloads as the variable ${variable.env}, so it must be UTF-8 text without NUL; this value is not. Have them refer to it as a file, then set it.`,
      );
    }
    const { created, record } = this.secrets.put(name, value, new Date().toISOString());
    for (const workload of users) {
      for (const instance of this.state.instancesOf(workload).values()) this.state.instancesToVisit.add(instance);
    }
    this.loop.wake();
    await this.journal.commit(() => this.secrets.revert(name));
    return { created, secret: this.secretView(record, users) };
  }

  async removeSecret(name: string): Promise<void> {
    this.assertChangeable();
    if (!this.secrets.has(name)) {
      throw new MorchError('SECRET_NOT_FOUND', `There is no secret ${name}. GET /secrets lists them.`);
    }
    const users = this.usersOfSecrets().get(name) ?? [];
    if (users.length > 0) {
      const ids = users.slice(0, 5).map(({ spec }) => spec.id);
      const more = users.length > ids.length ? ` and ${users.length - ids.length} more` : '';
      throw new MorchError(
        'SECRET_IN_USE',
        `Secret ${name} is needed by ${ids.join(', ')}${more}. Stop them, or apply specs that do without it, then remove it.`,
      );
    }
    this.secrets.remove(name);
    await this.journal.commit(() => this.secrets.revert(name));
  }

  /** By secret: workloads that have not ended and refer to it, in the order of their ids. */
  private usersOfSecrets(): Map<string, WorkloadRecord[]> {
    const users = new Map<string, WorkloadRecord[]>();
    const workloads = [...this.state.lists.withSecrets]
      .map((uid) => this.state.workloads.get(uid)!)
      .filter((workload) => !isTerminal(statusOf(this.state, workload)));
    for (const workload of workloads.sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1))) {
      for (const name of new Set(workload.spec.secrets?.map((secret) => secret.name))) {
        users.set(name, [...(users.get(name) ?? []), workload]);
      }
    }
    return users;
  }

  backup(): AsyncIterable<string> {
    return backupOf(this.store, new Date());
  }

  // ---- records

  private newWorkload(spec: WorkloadSpec): WorkloadRecord {
    const now = new Date().toISOString();
    const workload: WorkloadRecord = {
      uid: randomUUID(),
      spec,
      version: 1,
      revision: 1,
      generationFloor: 0,
      goal: 'run',
      purge: false,
      status: spec.replicas === 0 ? 'running' : 'pending',
      createdAt: now,
      updatedAt: now,
    };
    this.state.addWorkload(workload);
    return workload;
  }

  /** @param ended what becomes of a workload that has ended or is being stopped */
  private applySpec(workload: WorkloadRecord, spec: WorkloadSpec, ended: 'run' | 'leave'): void {
    const over = workload.goal === 'stop' || isTerminal(this.statusOf(workload));
    if (over ? ended === 'run' : compareSpecs(workload.spec, spec) === 'replace') workload.revision += 1;
    workload.spec = spec;
    workload.version += 1;
    if (over && ended === 'run') {
      workload.goal = 'run';
      workload.purge = false;
      workload.status = 'pending';
    }
    this.touch(workload);
  }

  private touch(workload: WorkloadRecord): void {
    workload.updatedAt = new Date().toISOString();
    this.state.saveWorkload(workload);
    for (const instance of this.state.instancesOf(workload).values()) this.state.instancesToVisit.add(instance);
  }

  private assertNotStopping(workload: WorkloadRecord): void {
    if (this.statusOf(workload) !== 'stopping') return;
    throw new MorchError(
      'NOT_POSSIBLE',
      `Workload ${workload.spec.id} is being stopped. Wait until it is stopped (morch wait ${workload.spec.id} --for terminal), then restart it.`,
    );
  }

  private freeId(input: SubmitInput): string {
    const base = idFromProgram(input);
    if (this.state.workloadById(base) === undefined) return base;
    for (;;) {
      const id = `${base}-${randomSuffix()}`;
      if (this.state.workloadById(id) === undefined) return id;
    }
  }

  private statusOf(workload: WorkloadRecord): Workload['status'] {
    return statusOf(this.state, workload);
  }

  private view(workload: WorkloadRecord): Workload {
    return workloadView(this.state, workload, { instances: INSTANCES_TOLD });
  }

  private workloadRecord(id: string): WorkloadRecord {
    const workload = this.state.workloadById(id);
    if (workload === undefined)
      throw new MorchError('WORKLOAD_NOT_FOUND', `There is no workload ${id}. GET /workloads lists them.`);
    return workload;
  }

  private instanceOf(workload: WorkloadRecord, instanceId: string): InstanceRecord {
    const { id } = workload.spec;
    const slot = instanceId.startsWith(`${id}.`) ? instanceId.slice(id.length + 1) : '';
    const instance = this.state.instancesOf(workload).get(slot);
    if (instance === undefined) throw noSuchInstance(id, instanceId);
    return instance;
  }

  private nodeRecord(id: string): NodeRecord {
    const node = this.state.nodes.get(id);
    if (node === undefined) throw new MorchError('NODE_NOT_FOUND', `There is no node ${id}. GET /nodes lists them.`);
    return node;
  }

  private emit(type: MorchEvent['type'], workload: WorkloadRecord, data: Record<string, unknown> = {}): void {
    const { uid, version } = workload;
    this.state.emit({ type, workload: workload.spec.id, data: { uid, version, ...data } }, new Date().toISOString());
  }
}

function noSuchInstance(id: string, instance: string): MorchError {
  return new MorchError('INSTANCE_NOT_FOUND', `Workload ${id} has no instance ${instance}.`);
}

/** The node of the latest generation last, each node once. */
function inOrderOfLastPlacement(instance: InstanceRecord): string[] {
  return [...new Set(instance.placements.map((placement) => placement.node).reverse())].reverse();
}

function assertSameBody(bodyHash: string, idempotency: IdempotencyKey): void {
  if (bodyHash === idempotency.bodyHash) return;
  throw new MorchError(
    'IDEMPOTENCY_CONFLICT',
    'This Idempotency-Key came with another body within the last 24 hours. Use a new key for a new submission.',
  );
}

function assertVersion(workload: WorkloadRecord, ifMatch: number | undefined): void {
  if (ifMatch === undefined || ifMatch === workload.version) return;
  throw new MorchError(
    'VERSION_MISMATCH',
    `Workload ${workload.spec.id} has version ${workload.version}, not ${ifMatch}. Read it again, then decide.`,
  );
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

function randomSuffix(): string {
  return Array.from(randomBytes(5), (byte) => ALPHABET[byte % ALPHABET.length]).join('');
}
