/**
 * Who a run is: the user that its spec names, if this node allows it; else one of its instance's own, or the agent's,
 * as the node is set (--run-as).
 */
import { constants } from 'node:os';
import type { ProcessSpec } from '../contract/workload';
import type { LogOwner } from './logs/files';
import type { Native, SystemUser } from './native/index';
import type { OwnUsers, UidRange } from './ownUsers';
import { StartFailure } from './processHost';

export interface UserRules {
  /** Login names and uids that a spec may name; `*`: all but root. */
  allowUsers: readonly string[];
  allowRoot: boolean;
}

type Asking = LogOwner & Pick<ProcessSpec, 'user'>;

export class RunUsers {
  /** @param own null: without a name in the spec it is the agent's user */
  constructor(
    private readonly rules: UserRules,
    private readonly own: OwnUsers | null,
    private readonly range: UidRange,
    private readonly native: Pick<Native, 'lookUpUser'>,
  ) {}

  /**
   * What has to be durable before `choose`.
   *
   * @throws MorchError STORE_UNWRITABLE
   */
  async prepare(asking: Asking): Promise<void> {
    if (asking.user === undefined) await this.own?.assign(asking);
  }

  /** Its own uid; null when it has none, or runs as another user. */
  ownUidOf(asking: Asking): number | null {
    return asking.user === undefined ? (this.own?.of(asking) ?? null) : null;
  }

  /**
   * @param home of a user of its own
   * @returns null: the agent's own
   * @throws StartFailure `user-range`: none is left; `getpwnam`: not known here; `user`: not allowed here
   */
  async choose(asking: Asking, home: string): Promise<SystemUser | null> {
    if (asking.user !== undefined) return this.#lookUp(asking.user);
    if (this.own === null) return null;
    const uid = this.own.of(asking);
    if (uid === null) throw new StartFailure('user-range', constants.errno.EAGAIN, 'EAGAIN');
    return { name: String(uid), uid, gid: uid, groups: [], home };
  }

  /** The last generation of each is forgotten. Never rejects. */
  async release(owners: readonly LogOwner[]): Promise<void> {
    await this.own?.release(owners);
  }

  async #lookUp(name: string): Promise<SystemUser> {
    const user = await this.native.lookUpUser(name);
    if (user === null) throw new StartFailure('getpwnam', constants.errno.ENOENT, 'ENOENT');
    if (!isAllowed(user, this.rules, this.range)) throw new StartFailure('user', constants.errno.EPERM, 'EPERM');
    return user;
  }
}

/**
 * Pure.
 *
 * @param user as the node knows it: root by another name is root
 * @param range of uids that instances have of their own, which nobody may name: it would be another's
 */
export function isAllowed(user: Pick<SystemUser, 'name' | 'uid'>, rules: UserRules, range: UidRange): boolean {
  if (user.uid === 0) return rules.allowRoot;
  if (user.uid >= range.from && user.uid <= range.to) return false;
  return ['*', user.name, String(user.uid)].some((name) => rules.allowUsers.includes(name));
}

/** Whether a spec may name any user at all here. */
export function allowsAny({ allowUsers, allowRoot }: UserRules): boolean {
  return allowRoot || allowUsers.length > 0;
}
