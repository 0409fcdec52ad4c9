/** All records of a store as one stream of text, as contract/backup.ts tells: of one moment, whatever is written meanwhile. */
import { createHash } from 'node:crypto';
import { BACKUP_VERSION, type BackupHeader, type BackupTrailer } from '../contract/backup';
import type { Meta } from './meta';
import { keys } from './store/keys';
import type { Store } from './store/store';

const CHUNK_LENGTH = 64 * 1024;

/**
 * Memory does not grow with the store. Breaks off with an error, before the last line, when a record cannot be read or
 * one is missing: a backup that has its end is whole.
 */
export async function* backupOf(store: Store, createdAt: Date): AsyncGenerator<string> {
  const snapshot = await store.snapshot();
  try {
    const hash = createHash('sha256');
    const { schema, clusterId, epoch } = (await snapshot.get(keys.meta)) as Meta;
    const header: BackupHeader = {
      format: 'morch-backup',
      version: BACKUP_VERSION,
      schema,
      clusterId,
      epoch,
      seq: snapshot.mark,
      createdAt: createdAt.toISOString(),
    };
    let chunk = `${JSON.stringify(header)}\n`;
    let records = 0;
    for await (const [key, json] of snapshot.entries()) {
      chunk += `[${JSON.stringify(key)},${json}]\n`;
      records += 1;
      if (chunk.length < CHUNK_LENGTH) continue;
      hash.update(chunk);
      yield chunk;
      chunk = '';
    }
    hash.update(chunk);
    const trailer: BackupTrailer = { records, sha256: hash.digest('hex') };
    yield `${chunk}${JSON.stringify(trailer)}\n`;
  } finally {
    await snapshot.close();
  }
}
