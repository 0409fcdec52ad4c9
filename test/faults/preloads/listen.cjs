/**
 * Preloaded into scheduler and agents (node --require): who is told to listen on 127.0.0.1 listens on all addresses. As long
 * as there is no access control they refuse anything else; here the namespace is the border, and beyond it is nobody.
 */
'use strict';

const { Server } = require('node:net');

const { listen } = Server.prototype;
Server.prototype.listen = function (...args) {
  const isLoopback = (value) => value === '127.0.0.1';
  return listen.apply(
    this,
    args.map((arg) => {
      if (isLoopback(arg)) return '0.0.0.0';
      return isLoopback(arg?.host) ? { ...arg, host: '0.0.0.0' } : arg;
    }),
  );
};
