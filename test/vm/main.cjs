/** What the test machine does once it is up: the checks of one phase. Exit code 0 when all have passed. */
'use strict';

const { Agent } = require('./agent.cjs');
const { checkGroups } = require('./groups.cjs');
const { checkLimits } = require('./limits.cjs');
const { checkReboot, prepareReboot } = require('./reboot.cjs');
const { checkRestarts } = require('./restarts.cjs');
const { check, failures, note } = require('./tap.cjs');
const { checkUsers } = require('./users.cjs');

const PHASES = {
  /** To see whether the machine boots. */
  async none() {},
  async checks() {
    await checkGroups();
    // As root: instances have users of their own, beside those that it lets them name.
    await withAgent(['--allow-user', 'nobody', '--allow-user', 'nosuchuser'], async (agent) => {
      await checkLimits(agent);
      await checkUsers(agent);
      await checkRestarts(agent);
      await prepareReboot(agent);
    });
  },
  /** After the power was cut at the end of the checks. */
  reboot: () => checkReboot(new Agent('/state/agent')),
};

async function withAgent(flags, body) {
  const agent = new Agent('/state/agent', { flags });
  await check('the agent starts', () => agent.run());
  await body(agent);
  if (failures() > 0) agent.tellLog();
}

async function main(phase) {
  await PHASES[phase]();
  process.exit(failures() === 0 ? 0 : 1);
}

main(process.argv[2]).catch((error) => {
  note(error.stack);
  process.exit(1);
});
