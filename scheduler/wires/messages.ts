/** What the scheduler's thread and that of the wires tell each other: several at a time, of each kind in its order. */
import type { NodeConnection } from '../tls/nodeConnection';
import type { ProbeResult } from './probe';

/** Where an agent is, as plain data. */
export interface PlainAddress {
  host: string;
  port: number;
  token: string | undefined;
  /** `id`: the same as long as its `AgentTls` is. */
  tls: { id: number; begun: NodeConnection } | undefined;
}

/** To the wires. `wire`, `prober` and `probe` are numbers that the scheduler's thread gives. */
export type WireCommand =
  | { kind: 'open'; wire: number; address: PlainAddress; path: string; handshakeMs: number }
  | { kind: 'send'; wire: number; text: string }
  | { kind: 'end'; wire: number }
  | { kind: 'probe'; probe: number; prober: number; address: PlainAddress; timeoutMs: number; overKept: boolean }
  | { kind: 'endProber'; prober: number }
  | { kind: 'watch'; stallMs: number }
  /** A batch of news has been taken in: another one may be sent. */
  | { kind: 'taken' };

/** From the wires. */
export type WireNews =
  | { kind: 'message'; wire: number; text: string }
  | { kind: 'error'; wire: number; message: string }
  | { kind: 'close'; wire: number; code: number; reason: string }
  | { kind: 'probed'; probe: number; result: ProbeResult }
  /** The thread of the wires stood still until now. */
  | { kind: 'stalled' }
  /** To be kept for that `AgentTls`, with the certificate that it was begun with. */
  | { kind: 'session'; tls: number; session: Uint8Array; cert: string };

/** What may be under way to the scheduler's thread: in batches, so many of them. What waits beyond that can still be outdone. */
export const BATCHES_AT_MOST = 32;
export const NEWS_IN_BATCH = 64;
