/**
 * Heartbeats as they came: told from other messages, and one from another, without being parsed. An agent puts its type first and
 * what its instances use last; within the strings of JSON a quote is escaped, so that these characters are what they seem.
 */

const HEARTBEAT = '{"type":"heartbeat"';
const USAGE = ',"usage":[';

export function isHeartbeat(text: string): boolean {
  return text.startsWith(HEARTBEAT);
}

/** What all instances of a node use is most of a heartbeat, and hardly ever asked for: it is JSON, and null where there is none. */
export function withoutUsage(text: string): { rest: string; usage: string | null } {
  const at = isHeartbeat(text) ? text.indexOf(USAGE) : -1;
  if (at < 0 || !text.endsWith(']}')) return { rest: text, usage: null };
  return { rest: `${text.slice(0, at)}}`, usage: text.slice(at + USAGE.length - 1, -1) };
}

/** Whether a later message has all that is of use in an earlier one: a heartbeat, in what it tells of the node and acknowledges. */
export function isOutdone(earlier: string, later: string): boolean {
  return isHeartbeat(earlier) && isHeartbeat(later) && !earlier.includes(USAGE);
}
