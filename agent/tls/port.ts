/** What the agent's port needs of TLS, whichever kind it has. */
import type { Server, ServerOptions } from 'node:https';

export interface PortTls {
  /** Of the server as it is made. */
  readonly serverOptions: ServerOptions;
  /** The server shows each new certificate from then on, and takes the clients that it is to take. */
  serve(server: Server): void;
  close(): void;
}
