'use strict';
/**
 * The control of the scheduler's start: a Node process that opens the same LevelDB directory, reads all records, parses and keeps
 * them, and serves. Executed by itself; prints its port when it listens.
 *
 *   node bareReader.cjs DIRECTORY
 */
const { createServer } = require('node:http');
const { Level } = require('level');

/** Of a value: its check. */
const BEFORE_JSON = 8;

async function readAll(directory) {
  const db = new Level(directory);
  await db.open();
  const records = [];
  const iterator = db.iterator({ highWaterMarkBytes: 2 ** 20 });
  for (;;) {
    const entries = await iterator.nextv(1_000);
    if (entries.length === 0) break;
    for (const [key, text] of entries) records.push([key, JSON.parse(text.slice(BEFORE_JSON))]);
  }
  await iterator.close();
  const server = createServer((_request, answer) => answer.end(String(records.length)));
  server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
}

void readAll(process.argv[2]);
