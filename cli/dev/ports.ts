/** Whether the ports of `morch dev` can be had, before anything is started. */
import { createServer } from 'node:net';

/** @returns undefined when it can be listened on, else the kernel's code: EADDRINUSE, EACCES */
export function portTrouble(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
