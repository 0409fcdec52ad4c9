import { loadNative } from '../../agent/native/index';

const native = loadNative();

describe('exit listener', () => {
  test('hears of an exit after the code that awaited the start, also when the child is quicker', async () => {
    const order: string[] = [];
    const seen = new Promise<void>((resolve) => {
      native.onExit((exits) => {
        for (const exit of exits) order.push(`exit ${exit.handle}`);
        if (order.length === 200) resolve();
      });
    });
    const started = Array.from({ length: 100 }, async () => {
      const { handle } = await native.spawn({ file: '/bin/true', argv: ['true'], cwd: '/', input: new Uint8Array(0) });
      await null; // a caller a few promises away still comes first
      await null;
      order.push(`spawn ${handle}`);
      return handle;
    });
    const handles = await Promise.all(started);
    await seen;
    native.onExit(null);
    for (const handle of handles) {
      expect(order.indexOf(`spawn ${handle}`)).toBeLessThan(order.indexOf(`exit ${handle}`));
    }
  });
});
