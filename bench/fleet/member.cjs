'use strict';
/** Whose a simulated agent is, and whose commands it takes: the rules of agent/membership, which keeps it on disk. */
const { MorchError } = require('../../dist/contract/errors.js');

class Member {
  clusterId = null;
  epoch = 0;
  term = null;
  mark = 0;
  leaseMs = 0;
  /** The cluster at which it registers: its word counts already. */
  joining = null;

  /** As `check`, and joins where it has no cluster yet. */
  admit(commander) {
    const { clusterId, term } = commander;
    if (clusterId === undefined && this.clusterId === null) return;
    const epoch = this.check(commander);
    if (clusterId !== undefined && (this.clusterId !== clusterId || epoch > this.epoch))
      this.#become(clusterId, epoch, term ?? null);
    else if (this.term === null && term !== undefined) this.term = term;
  }

  /** @returns the epoch; @throws MorchError WRONG_CLUSTER, STALE_EPOCH */
  check({ clusterId, epoch, term }) {
    if (clusterId === undefined) {
      if (this.clusterId === null) return 0;
      throw new MorchError('WRONG_CLUSTER', `This agent belongs to the scheduler of cluster ${this.clusterId}.`);
    }
    if (this.clusterId !== null && this.clusterId !== clusterId && clusterId !== this.joining)
      throw new MorchError('WRONG_CLUSTER', `This agent belongs to cluster ${this.clusterId}, not to ${clusterId}.`);
    const isOwn = this.clusterId === clusterId;
    const known = isOwn ? this.epoch : 0;
    const given = epoch ?? known;
    const isOthers = given === known && term !== undefined && this.term !== null && term !== this.term;
    if (given < known || (isOwn && isOthers))
      throw new MorchError('STALE_EPOCH', `The command is of term ${given}; this agent has heard of ${known}.`);
    return given;
  }

  /** The scheduler has taken it in. */
  join(clusterId, epoch) {
    if (this.clusterId !== clusterId || epoch > this.epoch) this.#become(clusterId, epoch, null);
  }

  #become(clusterId, epoch, term) {
    if (this.clusterId !== clusterId) this.mark = 0;
    Object.assign(this, { clusterId, epoch, term });
  }
}

module.exports = { Member };
