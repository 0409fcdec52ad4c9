/** `/secrets`: values come in, and never go out. */
import { MorchError, parseInput } from '../../contract/errors';
import { SECRET_BYTES, secretNameSchema } from '../../contract/secrets';
import type { HandlersOf } from './handlers';

export const secretHandlers: HandlersOf<'GET /secrets' | 'PUT /secrets/:id' | 'DELETE /secrets/:id'> = {
  'GET /secrets': ({ query }, { api }) => ({ status: 200, body: api.listSecrets(query) }),

  'PUT /secrets/:id': async ({ id, body }, { api }) => {
    parseInput(secretNameSchema, id, 'name in the path');
    const { created, secret } = await api.setSecret(id, bytesOf(body));
    if (!created) return { status: 204, body: null };
    return { status: 201, body: secret, headers: { Location: `/secrets/${id}` } };
  },

  'DELETE /secrets/:id': async ({ id }, { api }) => {
    await api.removeSecret(id);
    return { status: 204, body: null };
  },
};

/** No message says anything of the value but its length. */
function bytesOf({ value, encoding }: { value: string; encoding: 'utf8' | 'base64' }): Buffer {
  if (encoding === 'base64' && !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
    throw invalidValue('is not base64');
  }
  const bytes = Buffer.from(value, encoding);
  if (bytes.length === 0) throw invalidValue('is empty');
  if (bytes.length > SECRET_BYTES) throw invalidValue(`has ${bytes.length} bytes; ${SECRET_BYTES} is the most`);
  return bytes;
}

function invalidValue(message: string): MorchError {
  return new MorchError('INVALID_INPUT', `The secret's value ${message}`, { errors: [{ pointer: '/value', message }] });
}
