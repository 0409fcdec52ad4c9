import { useShims } from './shim';

const shims = useShims();

describe('an exit', () => {
  test('is recorded, told and followed by the end of the shim', async () => {
    const shim = await shims.sh('echo out; echo err >&2; exit 42');
    expect(await shim.noticed('exited')).toMatchObject({ code: 42, signal: null, durable: true });
    expect(await shim.ended).toBe(0);
    expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
    expect(shim.output().toString()).toBe('out\n');
    expect(shim.output('stderr').toString()).toBe('err\n');
  });
});
