/**
 * Preloaded into scheduler and agents (node --require): loopback reaches from host to host. Without TLS they neither listen on
 * another address nor call one; here the namespaces are the border, and beyond them is nobody. Who is told to listen on 127.0.0.1
 * listens on all addresses; whoever calls the scheduler's port on 127.0.0.1 is connected to MORCH_FAULT_SCHEDULER (HOST:PORT).
 */
'use strict';

const { Server, Socket } = require('node:net');

const LOOPBACK = '127.0.0.1';

const { listen } = Server.prototype;
Server.prototype.listen = function (...args) {
  return listen.apply(
    this,
    args.map((arg) => {
      if (arg === LOOPBACK) return '0.0.0.0';
      return arg?.host === LOOPBACK ? { ...arg, host: '0.0.0.0' } : arg;
    }),
  );
};

const [host, port] = (process.env.MORCH_FAULT_SCHEDULER ?? '').split(':');
const { connect } = Socket.prototype;
Socket.prototype.connect = function (...args) {
  // net.connect has them in an array already.
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (options?.host === LOOPBACK && String(options.port) === port) options.host = host;
  return connect.apply(this, args);
};
