import { InstanceUsage } from '../../scheduler/instanceUsage';

const web = { id: 'web.0', generation: 3, node: 'n1' };

it('tells what was told last of the present generation, on the node where it is', () => {
  const usage = new InstanceUsage();
  expect(usage.of(web)).toBeNull();
  usage.heard('n1', '[["web.0",3,12.5,4096]]');
  expect(usage.of(web)).toEqual({ cpuPercent: 12.5, memoryBytes: 4_096 });
  usage.heard('n1', '[["web.0",3,50,8192]]');
  expect(usage.of(web)).toEqual({ cpuPercent: 50, memoryBytes: 8_192 });
  expect(usage.of({ ...web, generation: 4 })).toBeNull();
  expect(usage.of({ ...web, node: 'n2' })).toBeNull();
  expect(usage.of({ ...web, node: null })).toBeNull();
});

it('tells nothing of an instance that its agent does not tell of any more, nor of a node that is forgotten', () => {
  const usage = new InstanceUsage();
  usage.heard('n1', '[["web.0",3,12.5,4096]]');
  usage.heard('n1', '[]');
  expect(usage.of(web)).toBeNull();
  usage.heard('n1', '[["web.0",3,12.5,4096]]');
  usage.forget('n1');
  expect(usage.of(web)).toBeNull();
});

it('takes what cannot be read for nothing', () => {
  const usage = new InstanceUsage();
  for (const text of ['[[', '[["web.0",3]]', '[{"web.0":3}]']) {
    usage.heard('n1', text);
    expect(usage.of(web)).toBeNull();
  }
});

it('tells the same of each of many instances of a node, however many are asked for', () => {
  const usage = new InstanceUsage();
  const told = Array.from({ length: 100 }, (_, at) => [`web.${at}`, 1, at, at * 4_096]);
  usage.heard('n1', JSON.stringify(told));
  for (let at = 99; at >= 0; at -= 1) {
    const instance = { id: `web.${at}`, generation: 1, node: 'n1' };
    expect(usage.of(instance)).toEqual({ cpuPercent: at, memoryBytes: at * 4_096 });
    expect(usage.of({ ...instance, generation: 11 })).toBeNull();
  }
});
