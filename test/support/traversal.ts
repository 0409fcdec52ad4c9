/** Ways to write a path that leads elsewhere, and requests that carry them as they are: fetch(3) would mend them first. */
import { request } from 'node:http';

/** As they stand in a URL, between slashes. */
export const IN_URLS = [
  '..',
  '.',
  '%2e%2e',
  '%2e%2e%2f%2e%2e%2fcanary',
  '..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd',
  '..%2fcanary',
  '%2fetc%2fpasswd',
  '/etc/passwd',
  '..%252f..%252fcanary',
  '%252e%252e%252fcanary',
  '..%c0%afcanary',
  '..%c1%9ccanary',
  '%c0%ae%c0%ae%2fcanary',
  '..%5ccanary',
  '..\\canary',
  '....%2f%2fcanary',
  '..;%2fcanary',
  '..%00',
  'web.0%00',
  'web.0%00.log',
  '%00',
  'web.0%2f..%2f..%2fcanary',
  '..%ef%bc%8fcanary',
  '%uff0e%uff0e%u2215canary',
  '~root',
  '.%2fweb.0',
  'web.0.',
  'web.0%20',
  'file:%2f%2f%2fetc%2fpasswd',
  '__proto__',
  'constructor',
  `${'..%2f'.repeat(200)}etc%2fpasswd`,
  'a'.repeat(5_000),
];

/** As text of a field. */
export const IN_FIELDS = [
  '..',
  '.',
  '../canary',
  '../../canary',
  '../'.repeat(20).concat('etc/passwd'),
  '/etc/passwd',
  '..\\canary',
  '....//canary',
  '%2e%2e%2fcanary',
  'x/../../canary',
  'x\0',
  '../canary\0.log',
  './x',
  '~root',
  '．．／canary',
  'x\n../canary',
  'x ',
  ' ',
  '',
  '__proto__',
  'a'.repeat(5_000),
];

/** @returns the answer to exactly this path */
export function requestRaw(
  { address, method, path, headers = {} }: { address: string; method: string; path: string; headers?: object },
  body?: unknown,
): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(address);
  const text = body === undefined ? undefined : JSON.stringify(body);
  const type = text === undefined ? {} : { 'Content-Type': 'application/json' };
  return new Promise((resolve, reject) => {
    const asked = request(
      { hostname, port, method, path, headers: { ...type, ...headers }, agent: false },
      (answer) => {
        let got = '';
        answer.setEncoding('latin1').on('data', (data) => {
          got += data;
        });
        answer.on('end', () => resolve({ status: answer.statusCode!, text: got }));
        answer.on('error', reject);
      },
    );
    asked.on('error', reject);
    asked.end(text);
  });
}
