'use strict';
/**
 * A client of PM2 that stays connected to its daemon, as a process of its own: PM2 is not of this project, and patches what it is loaded
 * into. Started by pm2.cjs with the path of PM2 and PM2_HOME set; answers messages { id, verb, args } by { id, error, result }.
 */
const { promisify } = require('node:util');
const pm2 = require(process.argv[2]);

const call = (verb, ...args) => promisify(pm2[verb]).call(pm2, ...args);

const VERBS = {
  /** The daemon is started by it. @returns nothing, once it answers */
  connect: () => call('connect').then(() => {}),
  /** @returns how many are online */
  start: async (app) => (await call('start', app)).length,
  stop: async (name) => void (await call('delete', name)),
  online: async (name) =>
    (await call('list')).filter((one) => one.name === name && one.pm2_env.status === 'online').length,
};

process.on('message', async ({ id, verb, args }) => {
  try {
    process.send({ id, result: await VERBS[verb](...args) });
  } catch (error) {
    process.send({ id, error: String(error?.message ?? error) });
  }
});
process.on('disconnect', () => process.exit(0));
