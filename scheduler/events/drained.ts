/** Waiting for a listener that reads slowly. */
import type { ServerResponse } from 'node:http';

/** Resolves when the response takes bytes again, or the client has left. */
export function drained(res: ServerResponse, left: AbortSignal): Promise<void> {
  if (left.aborted || !res.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      res.off('drain', done);
      left.removeEventListener('abort', done);
      resolve();
    };
    res.on('drain', done);
    left.addEventListener('abort', done);
  });
}
