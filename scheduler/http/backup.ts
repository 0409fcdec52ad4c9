/** GET `/backup`: all records, never faster than the client reads. */
import { BACKUP_MEDIA } from '../../contract/backup';
import { drained } from '../events/drained';
import type { HandlersOf } from './handlers';

export const backupHandlers: HandlersOf<'GET /backup'> = {
  'GET /backup': async ({ req, res }, { api }) => {
    res.setHeader('Content-Type', `${BACKUP_MEDIA}; charset=utf-8`);
    res.setHeader('Cache-Control', 'no-store');
    const left = new AbortController();
    res.on('close', () => left.abort());
    if (req.method !== 'HEAD') {
      for await (const chunk of api.backup()) {
        if (!res.write(chunk)) await drained(res, left.signal);
        if (left.signal.aborted) return undefined;
      }
    }
    res.end();
    return undefined;
  },
};
