'use strict';
/** Calls `one` for each item, at most `width` at a time. */
async function inLanes(items, width, one) {
  const queue = [...items];
  const lane = async () => {
    while (queue.length > 0) await one(queue.shift());
  };
  await Promise.all(Array.from({ length: width }, lane));
}

module.exports = { inLanes };
