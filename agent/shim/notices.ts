/**
 * The agent's end of the FIFO through which its shims say what has happened. Notices only hasten: whoever misses one
 * finds it in the state file of the run.
 */
import { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Native } from '../native/index';
import { parseShimText, type ShimLine } from './record';

export class Notices {
  private constructor(private readonly socket: Socket) {}

  /**
   * @param path made if it is not there
   * @throws NativeError when the FIFO cannot be made or opened
   */
  static open(native: Native, path: string, onLine: (line: ShimLine) => void, log: Logger): Notices {
    const socket = new Socket({ fd: native.openFifo(path), readable: true, writable: false });
    let rest = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      const parsed = parseShimText(rest + text);
      rest = parsed.rest;
      for (const line of parsed.lines) onLine(line);
    });
    socket.on('error', (error) => log.error({ err: error }, 'the notices of the shims cannot be read'));
    // It is no reason for the agent to go on.
    socket.unref();
    return new Notices(socket);
  }

  close(): void {
    this.socket.destroy();
  }
}
