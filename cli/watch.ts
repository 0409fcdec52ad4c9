/**
 * `-w`: shows something again and again until Ctrl-C, which ends with 0. On a terminal the screen is redrawn
 * when it differs; elsewhere only what is new or changed is appended.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isUnreachable } from './client';
import { jsonText, type Listing, type OutputOptions, print, renderList, renderTable, say, yamlText } from './output';

const INTERVAL_MS = 1_000;
/** Move by themselves, so elsewhere than on a terminal a change of them alone is none. */
const AGES = /(\d+(\.\d+)?(ms|[smhd]))+\b/g;
const CLEAR_SCREEN = '\u001b[H\u001b[2J\u001b[3J';

/** Runs `show` every second until SIGINT or SIGTERM. A scheduler that is away is said once and asked again. */
async function repeat(show: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  let away = false;
  for (let round = 0; !stop.signal.aborted; round += 1) {
    try {
      await show();
      away = false;
    } catch (error) {
      if (!isUnreachable(error) || round === 0) throw error;
      if (!away) say('the scheduler does not answer; trying again');
      away = true;
    }
    await sleep(INTERVAL_MS, undefined, { signal: stop.signal }).catch(() => undefined);
  }
}

export function watchText(load: () => Promise<string>): Promise<void> {
  let shown = '';
  return repeat(async () => {
    const text = await load();
    const looks = process.stdout.isTTY ? text : text.replace(AGES, '');
    if (looks === shown) return;
    shown = looks;
    if (process.stdout.isTTY) process.stdout.write(CLEAR_SCREEN);
    print(text);
  });
}

export function watchList<T>(load: () => Promise<T[]>, listing: Listing<T>, options: OutputOptions): Promise<void> {
  const structured = !options.quiet && (options.format === 'json' || options.format === 'yaml');
  if (process.stdout.isTTY && !structured) {
    return watchText(async () => renderList(await load(), listing, options) || `no ${listing.noun}s\n`);
  }
  const changes = new Changes(listing);
  let headers = options.headers;
  return repeat(async () => {
    const { changed, gone } = changes.take(await load());
    if (structured) {
      for (const item of changed) print(options.format === 'json' ? jsonText(item) : `---\n${yamlText(item)}`);
    } else if (options.quiet || options.format === 'name') {
      print(renderList(changed, listing, options));
    } else if (changed.length > 0) {
      print(renderTable(changed, listing.columns, { ...options, headers }));
      headers = false;
    }
    for (const id of gone) say(`${listing.noun} ${id} is gone`);
  });
}

/** Tells which items of a list differ from the last time, ages and loads aside. */
export class Changes<T> {
  private seen = new Map<string, string>();

  constructor(private readonly listing: Listing<T>) {}

  take(items: readonly T[]): { changed: T[]; gone: string[] } {
    const now = new Map(items.map((item) => [this.listing.id(item), this.looks(item)]));
    const changed = items.filter((item) => this.seen.get(this.listing.id(item)) !== this.looks(item));
    const gone = [...this.seen.keys()].filter((id) => !now.has(id));
    this.seen = now;
    return { changed, gone };
  }

  private looks(item: T): string {
    return JSON.stringify(this.listing.columns.filter((c) => c.volatile !== true).map((c) => c.value(item)));
  }
}
