/**
 * What agents keep for a scheduler that has lost its records is its own word, signed with the cluster's key (secret.key):
 * whose term it was, how far the store had been, what a workload is. An agent can give back what it was given, and nothing
 * else; so the word of one that somebody else has taken over changes nothing on other nodes. docs/protocol.md
 */
import { createHash } from 'node:crypto';
import type { Standing } from '../contract/agentApi';
import type { WorkloadRecord } from './core/model';
import type { Vault } from './secrets/vault';

/** What a workload was, in the scheduler's own words. */
export type Testimony = Pick<WorkloadRecord, 'uid' | 'spec' | 'version' | 'revision' | 'createdAt'>;

export class Proofs {
  private latest: Standing & { clusterId: string } = { clusterId: '', epoch: -1, term: '', mark: -1, proof: '' };
  private readonly testimonies = new WeakMap<WorkloadRecord, { version: number; text: string }>();

  constructor(private readonly vault: Pick<Vault, 'id' | 'sign' | 'isSignatureOf'>) {}

  get keyId(): string {
    return this.vault.id;
  }

  /** The same for all agents at a time, so it is made once for each mark. */
  standingOf({
    clusterId,
    epoch,
    id: term,
    mark,
  }: {
    clusterId: string;
    epoch: number;
    id: string;
    mark: number;
  }): string {
    const { latest } = this;
    if (latest.mark !== mark || latest.epoch !== epoch || latest.term !== term || latest.clusterId !== clusterId) {
      this.latest = { clusterId, epoch, term, mark, proof: this.vault.sign(textOf(clusterId, { epoch, term, mark })) };
    }
    return this.latest.proof;
  }

  holds(clusterId: string, standing: Standing): boolean {
    return this.vault.isSignatureOf(textOf(clusterId, standing), standing.proof);
  }

  testimonyOf(workload: WorkloadRecord): string {
    const { uid, spec, version, revision, createdAt } = workload;
    const known = this.testimonies.get(workload);
    if (known?.version === version) return known.text;
    const testimony: Testimony = { uid, spec, version, revision, createdAt };
    const words = JSON.stringify(testimony);
    const text = `${this.vault.sign(`workload ${hashOf(words)}`)}.${words}`;
    this.testimonies.set(workload, { version, text });
    return text;
  }

  /** @returns null when it is not a scheduler's word of this cluster */
  read(testimony: string): Testimony | null {
    const at = testimony.indexOf('.');
    const words = testimony.slice(at + 1);
    return this.vault.isSignatureOf(`workload ${hashOf(words)}`, testimony.slice(0, at)) ? JSON.parse(words) : null;
  }
}

function textOf(clusterId: string, { epoch, term, mark }: Omit<Standing, 'proof'>): string {
  return `standing ${JSON.stringify([clusterId, epoch, term, mark])}`;
}

function hashOf(words: string): string {
  return createHash('sha256').update(words).digest('base64url');
}
