'use strict';
(async () => {
  const { spawn } = require('node:child_process');
  const child = spawn('node', ['/morch/dist/cli/main.js', 'agent', '--data-dir', '/state/agent'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  for (let i = 0; i < 100; i++) {
    await new Promise((r) => setTimeout(r, 100));
    try {
      const a = await fetch('http://127.0.0.1:8080/status');
      console.log('ok 1 -', a.status, JSON.stringify(await a.json()).slice(0, 300));
      break;
    } catch {}
  }
})().then(() => process.exit(0));
