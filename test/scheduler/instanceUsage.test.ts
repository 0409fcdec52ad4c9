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
