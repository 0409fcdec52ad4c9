/** Writes a few whole plans for the fuzzer to begin with: node seeds.cjs DIRECTORY. */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

function text(tag, value) {
  return field(tag, Buffer.from(`${value}\0`));
}

function numbers(tag, ...values) {
  return field(tag, Buffer.from(new BigUint64Array(values.map(BigInt)).buffer));
}

function field(tag, value) {
  const bytes = Buffer.alloc(8 + Math.ceil(value.length / 8) * 8);
  bytes.writeUInt32LE(tag, 0);
  bytes.writeUInt32LE(value.length, 4);
  value.copy(bytes, 8);
  return bytes;
}

function plan(fields) {
  const count = Buffer.alloc(4);
  count.writeUInt32LE(fields.length);
  return Buffer.concat([Buffer.from('MSHPLAN1'), count, ...fields]);
}

/** What every plan has: docs/shim.md. */
const needed = [
  text(1, 'sh'),
  text(2, 'sh'),
  text(4, '/'),
  numbers(5, 0),
  text(6, '/state'),
  numbers(7, 1),
  text(8, 'nonce-01'),
  text(9, '/notices'),
  text(10, '/logs'),
  numbers(11, 1),
  numbers(12, 1, 1),
  numbers(13, 4096),
  numbers(14, 1),
  numbers(15, 15),
  numbers(16, 1000),
  numbers(17, 0),
  numbers(18, 0),
  numbers(24, 0o22),
  numbers(25, 20),
  numbers(26, 1),
];
const optional = [
  text(2, '-c'),
  text(2, ''),
  text(3, 'PATH=/bin::/usr/bin'),
  text(3, 'A=b=c'),
  text(19, '/lease'),
  text(20, '/group'),
  numbers(21, 1000, 1000),
  numbers(22, 10),
  numbers(22, 20),
  numbers(23, 7, 1024, '0xffffffffffffffff'),
];

const directory = process.argv[2];
fs.writeFileSync(path.join(directory, 'least'), plan(needed));
fs.writeFileSync(path.join(directory, 'all'), plan([...needed, ...optional]));
fs.writeFileSync(path.join(directory, 'none'), plan([]));
