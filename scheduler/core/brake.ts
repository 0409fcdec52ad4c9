/**
 * Whether so much is gone at once that the failure is more likely the scheduler's own, or the network's: then nothing is
 * moved until some of it is back, or somebody says so. Pure.
 */

/** Of fewer nodes only all of them count. */
const MANY_NODES = 10;
const MASS_PERCENT = 55;

/** @param counted all nodes, less those that were lost long before */
export function isMassFailure(gone: number, counted: number): boolean {
  if (counted < 2) return false;
  return gone >= counted || (counted >= MANY_NODES && gone * 100 >= counted * MASS_PERCENT);
}
