/** `morch backup`: all records of the running scheduler in a file, whole or not at all. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { type BackupHeader, BackupReader } from '../../contract/backup';
import { MorchError } from '../../contract/errors';
import { clientOf } from '../client';
import { print, say } from '../output';
import { formatBytes } from '../quantities';

interface BackupFlags {
  file?: string;
  force?: boolean;
}

export function registerBackup(program: Command): void {
  const command = program
    .command('backup')
    .description('save all records of the scheduler, as they are now, for morch restore')
    .option('--file <path>', 'where to; - is standard output (default: morch-backup-<cluster>-<time>.ndjson here)')
    .option('--force', 'replace a file that is there')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch backup\n  $ morch backup --file /backups/morch.ndjson --force\n' +
        '  $ morch backup --file - | gzip > morch.ndjson.gz',
    );
  command.action(async (flags: BackupFlags) => {
    if (flags.file !== undefined && flags.file !== '-') assertFree(flags.file, flags.force);
    const { body } = await clientOf(command).stream('/backup', {});
    if (flags.file === '-') await copyToStdout(body);
    else await save(body, flags);
  });
}

async function copyToStdout(body: AsyncIterable<Buffer>): Promise<void> {
  const reader = new BackupReader(createHash('sha256'));
  for await (const chunk of body) {
    reader.push(chunk);
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  }
  reader.end();
}

async function save(body: AsyncIterable<Buffer>, { file: given, force }: BackupFlags): Promise<void> {
  const reader = new BackupReader(createHash('sha256'));
  let file = given;
  let part: { handle: FileHandle; path: string } | undefined;
  let bytes = 0;
  // Until the header has come, which the name of the file is made of.
  const waiting: Buffer[] = [];
  try {
    for await (const chunk of body) {
      reader.push(chunk);
      bytes += chunk.length;
      waiting.push(chunk);
      if (reader.header === undefined) continue;
      if (part === undefined) {
        file ??= defaultName(reader.header);
        assertFree(file, force);
        part = { path: `${file}.part`, handle: await open(`${file}.part`, 'w', 0o600) };
      }
      for (const piece of waiting.splice(0)) await part.handle.write(piece);
    }
    const { header, trailer } = reader.end();
    await part!.handle.sync();
    await part!.handle.close();
    await rename(part!.path, file!);
    await syncDirectoryOf(file!);
    say(
      `backup of cluster ${header.clusterId}, epoch ${header.epoch}: ${trailer.records} records, ${formatBytes(bytes)}, as of ${header.createdAt}`,
    );
    print(file!);
  } catch (error) {
    await part?.handle.close().catch(() => undefined);
    if (part !== undefined) await rm(part.path, { force: true });
    throw isSystemError(error) ? notWritten(file, error) : error;
  }
}

/** @throws MorchError INVALID_INPUT */
function assertFree(file: string, force = false): void {
  if (!force && existsSync(file)) {
    throw new MorchError('INVALID_INPUT', `${file} is there already. Name another file, or replace it with --force.`);
  }
}

function defaultName({ clusterId, createdAt }: BackupHeader): string {
  return `morch-backup-${clusterId.slice(0, 8)}-${createdAt.replace(/[-:]|\.\d+/g, '')}.ndjson`;
}

async function syncDirectoryOf(file: string): Promise<void> {
  const directory = await open(path.dirname(file), 'r');
  await directory.sync().finally(() => directory.close());
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

function notWritten(file = '', cause: Error): MorchError {
  return new MorchError('STORE_UNWRITABLE', `The backup could not be written to ${file}: ${cause.message}`, { cause });
}
