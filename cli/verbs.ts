/** Every verb of the `morch` command, in the groups and the order of its help. Called by main.ts. */
import type { Command } from 'commander';
import { registerAgent } from './commands/agent';
import { registerAudit } from './commands/audit';
import { registerBackup } from './commands/backup';
import { registerBlackBox } from './commands/blackbox';
import { registerCheck } from './commands/check';
import { registerContext } from './commands/context';
import { registerCordon } from './commands/cordon';
import { registerDescribe } from './commands/describe';
import { registerDev } from './commands/dev';
import { registerDrain } from './commands/drain';
import { registerDrill } from './commands/drill';
import { registerEvents } from './commands/events';
import { registerHealth } from './commands/health';
import { registerHistory } from './commands/history';
import { registerLogs } from './commands/logs';
import { registerNodes } from './commands/nodes';
import { registerRecovery } from './commands/recovery';
import { registerRestart } from './commands/restart';
import { registerRestore } from './commands/restore';
import { registerScale } from './commands/scale';
import { registerScheduler } from './commands/scheduler';
import { registerSecret } from './commands/secret';
import { registerStatus } from './commands/status';
import { registerStop } from './commands/stop';
import { registerSubmit } from './commands/submit';
import { registerToken } from './commands/token';
import { registerUncordon } from './commands/uncordon';
import { registerWait } from './commands/wait';
import { registerWorkloads } from './commands/workloads';

export function registerVerbs(program: Command): void {
  program.commandsGroup('Parts:');
  for (const register of [registerDev, registerScheduler, registerAgent]) register(program);
  program.commandsGroup('Workloads:');
  for (const register of [
    registerSubmit,
    registerWorkloads,
    registerDescribe,
    registerLogs,
    registerBlackBox,
    registerWait,
    registerStop,
    registerRestart,
    registerScale,
    registerHistory,
  ]) {
    register(program);
  }
  program.commandsGroup('Nodes:');
  for (const register of [registerNodes, registerDrain, registerCordon, registerUncordon]) register(program);
  program.commandsGroup('Health:');
  for (const register of [
    registerStatus,
    registerHealth,
    registerCheck,
    registerRecovery,
    registerDrill,
    registerEvents,
  ]) {
    register(program);
  }
  program.commandsGroup('Access:');
  for (const register of [registerToken, registerContext, registerSecret, registerAudit]) register(program);
  program.commandsGroup('Records:');
  for (const register of [registerBackup, registerRestore]) register(program);
}
