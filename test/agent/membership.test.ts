/** Whom an agent obeys on a disk that cannot be written. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Membership } from '../../agent/membership';

let dataDir: string;
let membership: Membership;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'morch-test-membership-'));
  membership = await Membership.open(dataDir);
  await membership.join('cluster', 1);
  // Nothing can be written there from here on.
  rmSync(dataDir, { recursive: true });
});

const NEXT_TERM = { clusterId: 'cluster', epoch: 2, term: 'second' };

test('a connection whose cluster cannot be recorded is refused', async () => {
  await expect(membership.admit(NEXT_TERM)).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
});

test('a stop is carried out all the same, and older terms are refused from then on', async () => {
  await membership.admitStop(NEXT_TERM);
  const older = { clusterId: 'cluster', epoch: 1, term: 'first' };
  await expect(membership.admitStop(older)).rejects.toMatchObject({ code: 'STALE_EPOCH' });
  await expect(membership.admitStop({ ...NEXT_TERM, clusterId: 'other' })).rejects.toMatchObject({
    code: 'WRONG_CLUSTER',
  });
});
