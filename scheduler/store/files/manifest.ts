/** Which table files of a LevelDB directory are alive, as its MANIFEST tells (db/version_edit.cc of LevelDB). */
import { ByteReader, MalformedError } from './byteReader';
import { readLogRecords } from './logRecords';

/** Of the fields of a record. */
const COMPARATOR = 1;
const LOG_NUMBER = 2;
const NEXT_FILE = 3;
const LAST_SEQUENCE = 4;
const COMPACT_POINTER = 5;
const DELETED_FILE = 6;
const NEW_FILE = 7;
const PREVIOUS_LOG = 9;

/**
 * @returns numbers of the live table files
 * @throws MalformedError
 */
export function liveTablesOf(manifest: Buffer): Set<number> {
  const live = new Set<number>();
  let damaged = false;
  for (const { bytes } of readLogRecords(manifest, () => {
    damaged = true;
  })) {
    if (damaged) break;
    applyEdit(live, new ByteReader(bytes));
  }
  if (damaged) throw new MalformedError('a record of it fails its check');
  return live;
}

function applyEdit(live: Set<number>, edit: ByteReader): void {
  while (edit.left > 0) {
    const field = edit.varint();
    switch (field) {
      case COMPARATOR:
        edit.lengthPrefixed();
        break;
      case LOG_NUMBER:
      case NEXT_FILE:
      case LAST_SEQUENCE:
      case PREVIOUS_LOG:
        edit.varint();
        break;
      case COMPACT_POINTER:
        edit.varint();
        edit.lengthPrefixed();
        break;
      case DELETED_FILE:
        edit.varint();
        live.delete(edit.varint());
        break;
      case NEW_FILE:
        edit.varint();
        live.add(edit.varint());
        edit.varint();
        edit.lengthPrefixed();
        edit.lengthPrefixed();
        break;
      default:
        throw new MalformedError(`a record of it has the unknown field ${field}`);
    }
  }
}
