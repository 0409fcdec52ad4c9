/** When a certificate is to be replaced, and the loop that does it. */
import { X509Certificate } from 'node:crypto';

/** Certificates are valid from so long before they are made, for clocks that are behind. */
export const BACKDATED_MS = 5 * 60_000;
/** The 90 days that public authorities have made usual. */
export const VALIDITY_MS = 90 * 86_400_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** setTimeout takes 32 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Of one of issue.ts: when two thirds of its time are over. Pure. */
export function renewAtMs({ notBeforeMs, notAfterMs }: { notBeforeMs: number; notAfterMs: number }): number {
  const issuedAtMs = notBeforeMs + BACKDATED_MS;
  return issuedAtMs + ((notAfterMs - issuedAtMs) * 2) / 3;
}

/** @param certificate PEM; of several the first */
export function validityOf(certificate: string): { notBeforeMs: number; notAfterMs: number } {
  const { validFrom, validTo } = new X509Certificate(certificate);
  return { notBeforeMs: Date.parse(validFrom), notAfterMs: Date.parse(validTo) };
}

export function isExpired(certificate: string, nowMs: number): boolean {
  return nowMs >= validityOf(certificate).notAfterMs;
}

/**
 * Replaces a certificate for ever, each time when two thirds of its time are over. A failure is tried again, more and more
 * seldom: the old one serves meanwhile.
 *
 * @param present PEM; asked anew before each wait
 * @returns ends it
 */
export function startRenewal(
  present: () => string,
  replace: () => Promise<void>,
  onFailure: (error: unknown) => void,
): () => void {
  let timer: NodeJS.Timeout;
  let retryMs = FIRST_RETRY_MS;
  let ended = false;
  const wait = (ms: number): void => {
    timer = setTimeout(look, Math.min(Math.max(ms, 0), LONGEST_TIMER_MS));
    timer.unref();
  };
  const untilDueMs = (): number => renewAtMs(validityOf(present())) - Date.now();
  const look = (): void => {
    if (untilDueMs() > 0) {
      wait(untilDueMs());
      return;
    }
    replace().then(
      () => {
        retryMs = FIRST_RETRY_MS;
        if (!ended) wait(untilDueMs());
      },
      (error: unknown) => {
        onFailure(error);
        if (!ended) wait(retryMs);
        retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
      },
    );
  };
  wait(untilDueMs());
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
