/** Uids for the agents of one test file: not what any agent has by default, and others for each run of it. */
import { existsSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CLAIMS_DIRECTORY } from '../../agent/ownUsers';

export const FIRST_UID = 0x6100_0000 + (process.pid % 0x1_0000) * 0x100;

/** `size` of the file's 256, from `at` on. */
export const rangeOf = (size: number, at = 0) => `${FIRST_UID + at}-${FIRST_UID + at + size - 1}`;

/** Which uids agents with data below the directory hold. */
export function claimedBelow(directory: string): number[] {
  if (!existsSync(CLAIMS_DIRECTORY)) return [];
  const isOurs = (name: string) => readlinkSync(join(CLAIMS_DIRECTORY, name)).startsWith(directory);
  return readdirSync(CLAIMS_DIRECTORY).filter(isOurs).map(Number);
}

/** What was claimed for a data directory that is removed stays claimed until the machine restarts. */
export function releaseBelow(directory: string): void {
  for (const uid of claimedBelow(directory)) rmSync(join(CLAIMS_DIRECTORY, String(uid)), { force: true });
}
