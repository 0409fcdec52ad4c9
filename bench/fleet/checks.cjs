'use strict';
/**
 * Everything said and heard against the schemas of the contract: what the tests run a fleet with. A bench leaves it out, as
 * it costs more than all the rest of a simulated agent.
 */
const contract = require('../../dist/contract/agentApi.js');
const { problemSchema } = require('../../dist/contract/errors.js');

/** Each throws for what the contract does not know. */
const CONTRACT_CHECKS = {
  status: (text) => void contract.agentStatusSchema.parse(JSON.parse(text)),
  message: (text) => void contract.agentMessageSchema.parse(JSON.parse(text)),
  heard: (message) => void contract.schedulerMessageSchema.parse(message),
  start: (body, isBatch) => void (isBatch ? contract.startBatchSchema : contract.startInstanceSchema).parse(body),
  stop: (body) => void contract.stopBatchSchema.parse(body),
  started: (results) => {
    for (const result of results) (result.status === undefined ? contract.startedSchema : problemSchema).parse(result);
  },
};

const NO_CHECKS = Object.fromEntries(Object.keys(CONTRACT_CHECKS).map((name) => [name, () => {}]));

module.exports = { CONTRACT_CHECKS, NO_CHECKS };
