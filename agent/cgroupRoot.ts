/**
 * Where on this machine an agent may make groups of processes (cgroup v2): the mount, the agent's own place in it, and
 * which controllers can be had there. Used by cgroups.ts, once at the agent's start.
 *
 * Kernel facts (Documentation/admin-guide/cgroup-v2.rst): a controller works in a group when every group above it
 * lists it in cgroup.subtree_control; a group that lists one can hold no processes itself, the root of all groups
 * excepted. Every write below acts on one file of the kernel, whole or not at all.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { NativeError } from './native/nativeError';

/** The controllers that limits need. */
export const CONTROLLERS = ['cpu', 'memory', 'pids'] as const;
export type Controller = (typeof CONTROLLERS)[number];

/** Where the agent goes when its own group has to be emptied; also a good DelegateSubgroup= of its systemd unit. */
const LEAF = 'agent';
/** A group can take processes in while it is being emptied: those that its processes fork. */
const EMPTY_ATTEMPTS = 20;

export interface CgroupMount {
  /** Where it is mounted. */
  path: string;
  /** Which group is to be seen there; `/` is the root, of all groups or of the cgroup namespace. */
  root: string;
}

/** @param mountinfo /proc/self/mountinfo (proc(5)); cgroup2 mounts in the order of mounting */
export function cgroupMountsOf(mountinfo: string): CgroupMount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, path] = before.split(' ').map(unescapeOctal);
    return after.startsWith('cgroup2 ') && root !== undefined && path !== undefined ? [{ path, root }] : [];
  });
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/**
 * @param cgroups /proc/self/cgroup
 * @returns the directory of this process's group; null when the mount does not show it
 */
export function ownGroupOf(cgroups: string, mount: CgroupMount): string | null {
  const own = /^0::(\/.*)$/m.exec(cgroups)?.[1];
  // `/../…`: outside the cgroup namespace. ` (deleted)`: nothing can be made in it any more.
  if (own === undefined || own.startsWith('/..') || own.endsWith(' (deleted)')) return null;
  const below = relative(mount.root, own);
  return below === '..' || below.startsWith('../') ? null : join(mount.path, below);
}

/** The mount that holds `path`, or the first one. */
export async function findMount(path?: string): Promise<CgroupMount | null> {
  const mounts = cgroupMountsOf(await readFile('/proc/self/mountinfo', 'utf8'));
  const holds = (mount: CgroupMount) => path === undefined || path === mount.path || path.startsWith(`${mount.path}/`);
  return mounts.find(holds) ?? null;
}

export async function findOwnGroup(mount: CgroupMount): Promise<string | null> {
  return ownGroupOf(await readFile('/proc/self/cgroup', 'utf8'), mount);
}

/**
 * The group below which `auto` makes the agent's.
 *
 * Root takes the root of all groups, wherever it was started: the group of a login session belongs to others too, and
 * systemd (below 254, or without DelegateSubgroup=) cannot start a service again whose own group has controllers
 * enabled for live groups below (EBUSY), which would be every restart of an agent. Everyone else takes the agent's own
 * group, and so does root in a cgroup namespace, whose root is not that of all groups.
 */
export function chooseParent(mount: CgroupMount, own: string | null, uid: number): string | null {
  if (uid === 0 && isRootOfAll(mount.path)) return mount.path;
  if (own === null) return null;
  return own.endsWith(`/${LEAF}`) && isWritable(dirname(own)) ? dirname(own) : own;
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The root of all groups has no type. */
export function isRootOfAll(group: string): boolean {
  return !existsSync(join(group, 'cgroup.type'));
}

/** Makes the group, and what is missing above it with the controllers that can be had. */
export async function provideGroup(path: string): Promise<void> {
  if (existsSync(path)) return;
  await provideGroup(dirname(path));
  // What it lacks shows in the features; the group itself is of use even so.
  await enableControllers(dirname(path)).catch(() => {});
  await makeGroup(path);
}

/**
 * @returns false when it was there before
 * @throws NativeError
 */
async function makeGroup(path: string): Promise<boolean> {
  try {
    await calling(path, () => mkdir(path));
    return true;
  } catch (error) {
    if ((error as NativeError).code !== 'EEXIST') throw error;
    return false;
  }
}

/**
 * Enables for the groups below what is available and not enabled yet.
 *
 * @throws NativeError of the kernel's refusal; Error when the reason is that processes are in the group itself
 */
export async function enableControllers(group: string): Promise<void> {
  const failures: unknown[] = [];
  for (const controller of await missingControllers(group)) {
    await setGroupFile(group, 'cgroup.subtree_control', `+${controller}`).catch((error) => failures.push(error));
  }
  if (failures.length === 0) return;
  // The kernel says EBUSY or EOPNOTSUPP then.
  const inhabited = !isRootOfAll(group) && (await processesIn(group)).size > 0;
  throw inhabited
    ? new Error(`${group} holds processes itself, so that groups below it cannot be limited`)
    : failures[0];
}

async function missingControllers(group: string): Promise<Controller[]> {
  const available = await readWords(join(group, 'cgroup.controllers'));
  const enabled = await enabledControllers(group);
  return CONTROLLERS.filter((controller) => available.has(controller) && !enabled.has(controller));
}

/** What the groups below `group` can be limited in. */
export async function enabledControllers(group: string): Promise<Set<string>> {
  return readWords(join(group, 'cgroup.subtree_control'));
}

async function processesIn(group: string): Promise<Set<string>> {
  return readWords(join(group, 'cgroup.procs'));
}

async function readWords(path: string): Promise<Set<string>> {
  const words = (await readFile(path, 'utf8')).trim().split(/\s+/);
  return new Set(words.filter((word) => word !== ''));
}

/**
 * Moves this process, and with it whatever else is in the group, to a leaf below, where controllers are to be enabled
 * and cannot be as long as it holds processes. Does nothing otherwise.
 */
export async function emptyGroup(group: string): Promise<void> {
  if (isRootOfAll(group)) return;
  const leaf = join(group, LEAF);
  for (let attempt = 1; (await missingControllers(group)).length > 0; attempt += 1) {
    const pids = await processesIn(group);
    if (pids.size === 0) return;
    await makeGroup(leaf);
    for (const pid of pids) await moveProcess(pid, leaf, attempt === EMPTY_ATTEMPTS);
    if (attempt === EMPTY_ATTEMPTS) return;
  }
}

/** One that has ended meanwhile, or cannot be moved yet, is met again in the next round. */
async function moveProcess(pid: string, group: string, last: boolean): Promise<void> {
  try {
    await setGroupFile(group, 'cgroup.procs', pid);
  } catch (error) {
    if (last && (error as NativeError).code !== 'ESRCH') throw error;
  }
}

/**
 * Writes one of the kernel's files of a group; one that is not there is not made.
 * @throws NativeError
 */
export async function setGroupFile(group: string, file: string, value: string): Promise<void> {
  const path = join(group, file);
  await calling(path, async () => {
    const opened = await open(path, constants.O_WRONLY);
    try {
      await opened.write(value);
    } finally {
      await opened.close();
    }
  });
}

/** @throws NativeError for what the call rejects with, if that came from the kernel */
export async function calling<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const { syscall, errno } = error as NodeJS.ErrnoException;
    if (error instanceof NativeError || syscall === undefined || errno === undefined) throw error;
    throw new NativeError(syscall, -errno, what);
  }
}
