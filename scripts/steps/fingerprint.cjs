/**
 * Content fingerprints: what a build was made from, so that it is repeated only when that changes.
 */
'use strict';

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

/**
 * Lists the files below `directory`, sorted, relative to it, with `/`. A missing directory is empty.
 *
 * @param {string} directory
 * @param {(relative: string, isDirectory: boolean) => boolean} accept  a refused directory is not entered
 * @returns {string[]}
 */
function listFiles(directory, accept) {
  const found = [];
  const visit = (relative) => {
    const absolute = path.join(directory, relative);
    if (!fs.existsSync(absolute)) return;
    for (const entry of fs.readdirSync(absolute, { withFileTypes: true })) {
      const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (!accept(name, entry.isDirectory())) continue;
      if (entry.isDirectory()) visit(name);
      else found.push(name);
    }
  };
  visit('');
  return found.sort();
}

/**
 * @param {string} directory
 * @param {string[]} files  relative to it; a missing file counts as such
 * @param {unknown} [extra]  anything else the result depends on; JSON
 * @returns {string} hexadecimal SHA-256 over names, contents and `extra`
 */
function fingerprint(directory, files, extra = null) {
  const hash = createHash('sha256').update(JSON.stringify(extra));
  for (const file of files) {
    const absolute = path.join(directory, file);
    hash.update(`\0${file}\0`);
    hash.update(fs.existsSync(absolute) ? fs.readFileSync(absolute) : 'missing');
  }
  return hash.digest('hex');
}

/** @returns the parsed JSON file, or null when it is missing or not JSON (an interrupted write) */
function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error instanceof SyntaxError) return null;
    throw error;
  }
}

function writeJson(file, value) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}`;
  fs.writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`);
  fs.renameSync(temporary, file);
}

module.exports = { fingerprint, listFiles, readJson, writeJson };
