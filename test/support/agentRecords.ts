/** What an agent has on record of its instances, read by a test, and changed while no agent runs on it. */
import { join } from 'node:path';
import { Journal } from '../../agent/journal';

/** By `<uid>.<slot>.<generation>`: intent, stop and end, each as it was written last. */
export type RecordsFound = Map<string, Record<'intent' | 'stop' | 'end', Record<string, unknown> | null>>;

export async function readRecords(dataDir: string): Promise<RecordsFound> {
  return load(journalOf(dataDir, new Map()));
}

/** @param edit gives the fields of the intent that are to be others */
export async function changeIntent(
  dataDir: string,
  key: string,
  edit: (intent: Record<string, unknown>) => object,
): Promise<void> {
  const found: RecordsFound = new Map();
  const journal = journalOf(dataDir, found);
  for (const [each, record] of await load(journal)) found.set(each, record);
  const record = found.get(key)!;
  found.set(key, { ...record, intent: { ...record.intent, ...edit(record.intent!) } });
  await journal.rewrite();
}

function journalOf(dataDir: string, counting: RecordsFound): Journal {
  return new Journal(join(dataDir, 'instances'), () =>
    [...counting].map(([key, record]) => JSON.stringify({ key, ...record })),
  );
}

async function load(journal: Journal): Promise<RecordsFound> {
  const found: RecordsFound = new Map();
  const onDamage = (path: string): never => {
    throw new Error(`${path} is damaged`);
  };
  for await (const text of journal.load(onDamage)) {
    const { key, gone, ...record } = JSON.parse(text);
    if (gone) found.delete(key);
    else found.set(key, { intent: null, stop: null, end: null, ...found.get(key), ...record });
  }
  return found;
}
