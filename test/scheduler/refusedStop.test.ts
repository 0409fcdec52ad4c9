/** A stop that an agent does not carry out is told where its user looks, and asked for until it is. */
import { MorchError } from '../../contract/errors';
import { until } from '../support/until';
import { PlayedCluster } from './playedCluster';

it('tells why an instance is still there, and no more once it has gone', async () => {
  const cluster = await PlayedCluster.make(['n1'], () => 0.5);
  const instance = () => [...cluster.state.instances.values()][0]!;
  await cluster.service.submit({ id: 'web', kind: 'service', command: ['serve'] });
  await until(() => instance().status === 'running', { what: 'it runs' });
  const stop = jest
    .spyOn(cluster.agents.get('n1')!, 'stop')
    .mockImplementation(async () => [{ ok: false, error: new MorchError('STORE_UNWRITABLE', 'The disk is full.') }]);
  await cluster.service.stop('web', false);
  await until(() => instance().statusReason?.includes('refused') === true, { what: 'the refusal is told' });
  expect(instance()).toMatchObject({
    status: 'stopping',
    statusReason: 'stop requested, refused by n1, which is asked again: The disk is full.',
  });
  stop.mockRestore();
  await until(() => instance().statusReason === 'stop requested', { what: 'it is asked again, and does it' });
  const agent = cluster.agents.get('n1')!;
  agent.settle();
  agent.deliver();
  expect(instance()).toMatchObject({ status: 'stopped', statusReason: 'stopped by request' });
  await cluster.close();
});
