/** The real registry and links against an address behind which another agent answers than before. */
import { pino } from 'pino';
import { BlackBox } from '../../scheduler/blackBox/blackBox';
import { ControlLoop } from '../../scheduler/controlLoop';
import { HEALTH_PROFILES, type HealthPolicy } from '../../scheduler/core/healthPolicy';
import { Journal } from '../../scheduler/journal';
import { NodeRegistry } from '../../scheduler/nodeRegistry';
import { Secrets } from '../../scheduler/secrets/secrets';
import { State } from '../../scheduler/state';
import { openMemoryStore } from '../../scheduler/store/memory';
import { OwnWires } from '../../scheduler/wires/wires';
import { until } from '../support/until';
import { ADMIN, OPEN_VAULT, openAccess, PROOFS } from './openAccess';
import { Switchboard } from './switchboard';

const log = pino({ level: 'silent' });
const POLICY: HealthPolicy = { ...HEALTH_PROFILES.fast, sweepMs: 100, probeTimeoutMs: 100, heartbeatMs: 20 };

let board: Switchboard;
let state: State;
let registry: NodeRegistry;
let close: () => Promise<void>;
beforeEach(async () => {
  board = await Switchboard.open();
  const store = openMemoryStore();
  state = await State.load(store, 'cluster', PROOFS);
  const journal: Journal = new Journal(
    store,
    state,
    () => undefined,
    log,
    () => loop.wake(),
  );
  const blackBox = await BlackBox.load(store, state, journal, log);
  registry = new NodeRegistry(state, POLICY, POLICY.leaseMs, blackBox, openAccess(), new OwnWires(), log);
  const secrets = await Secrets.load(store, state, OPEN_VAULT);
  const loop: ControlLoop = new ControlLoop(state, journal, registry, POLICY.leaseMs, blackBox, secrets, log);
  registry.start(loop, journal);
  close = async () => {
    loop.close();
    await registry.close();
    await blackBox.close();
    await journal.close();
  };
});
afterEach(async () => {
  await close();
  board.close();
});

test('an agent whose name another takes over, at its own address, has its lease renewed no more', async () => {
  await registry.register(board.address, ADMIN);
  const node = state.nodes.get('n1')!;
  await until(() => board.lines[0]?.acks !== undefined && board.lines[0].acks > 2, { what: 'it is acknowledged' });
  // It is half dead: heard, but without an answer.
  board.answers = false;
  await until(() => node.status === 'degraded', { what: 'it is degraded' });
  board.nodeKey = 'second';
  board.answers = true;
  await until(
    () =>
      registry.register(board.address, ADMIN).then(
        () => true,
        () => false,
      ),
    { what: 'another has taken the name over' },
  );
  expect(node.nodeKey).toBe('second');
  const [first] = board.lines;
  await until(() => first!.socket.readyState === first!.socket.CLOSED, { what: 'the first is let go' });
  const acks = first!.acks;
  await until(() => board.lines.some((line) => line.nodeKey === 'second' && line.acks > 2), {
    what: 'the second is acknowledged',
  });
  expect(first!.acks).toBe(acks);
});
