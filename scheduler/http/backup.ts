/** GET `/backup`: all records, never faster than the client reads. */
import { BACKUP_MEDIA } from '../../contract/backup';
import { drained } from '../events/drained';
import { beginStream } from './answer';
import type { HandlersOf } from './handlers';

export const backupHandlers: HandlersOf<'GET /backup'> = {
  'GET /backup': async ({ req, res }, { api }) => {
    const begin = () => beginStream(res, 200, { 'Content-Type': `${BACKUP_MEDIA}; charset=utf-8` });
    const left = new AbortController();
    res.on('close', () => left.abort());
    if (req.method === 'HEAD') begin();
    else {
      for await (const chunk of api.backup()) {
        // Not before there is something: until then a failure can be answered.
        if (!res.headersSent) begin();
        if (!res.write(chunk)) await drained(res, left.signal);
        if (left.signal.aborted) return undefined;
      }
    }
    res.end();
    return undefined;
  },
};
