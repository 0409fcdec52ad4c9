/** Sends more than any server has to read, until it is answered and cut off. */
import { connect } from 'node:net';

/**
 * As fast as it is taken.
 *
 * @param piece sent again and again after the head, until `atMostBytes` of them have been
 * @returns what was answered, and how much the other side took
 */
export function sendUntilCut(
  port: number,
  head: string,
  piece: string | Buffer,
  atMostBytes: number,
): Promise<{ answer: string; sentBytes: number }> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    let written = 0;
    const pump = () => {
      while (written < atMostBytes && socket.writable) {
        written += piece.length;
        if (!socket.write(piece)) return;
      }
    };
    socket.write(head);
    pump();
    socket.on('drain', pump);
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    // It may be cut off while it sends.
    socket.on('error', () => {});
    socket.on('close', () => resolve({ answer, sentBytes: socket.bytesWritten }));
  });
}
