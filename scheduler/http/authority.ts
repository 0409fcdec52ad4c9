/** `/ca`. */
import { MorchError } from '../../contract/errors';
import { sendText } from './answer';
import type { HandlersOf } from './handlers';

export const authorityHandlers: HandlersOf<'GET /ca'> = {
  'GET /ca': ({ res }, { trust }) => {
    if (trust === null)
      throw new MorchError('NOT_FOUND', 'This scheduler speaks plain HTTP: there is no authority to trust.');
    sendText(res, 200, trust.bundle, 'application/x-pem-file');
    return undefined;
  },
};
