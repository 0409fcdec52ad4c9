/** `morch audit`: shows the audit log of the running scheduler, and checks its files. */
import { type Command, Option } from 'commander';
import type { AuditLine } from '../../contract/audit';
import { clientOf } from '../client';
import { defaultDataDir, describeDataDir } from '../dataDir';
import { integer } from '../flags';
import { addOutputOptions, outputOptionsOf, print, renderOne, say, visible } from '../output';
import { refuseClientFlags, runPart } from '../parts';
import { flagNames } from '../problems';

const PAGE = 1_000;

interface VerifyFlags {
  dataDir: string;
  expect?: string;
  from?: number;
}

export function registerAudit(program: Command): void {
  const command = program
    .command('audit')
    .description('who changed what, and whether the log of it is whole')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch audit tail -n 50\n  $ morch audit verify --data-dir /var/lib/morch/scheduler\n' +
        '  $ morch audit verify copies/audit.*.log copies/audit.log',
    );
  registerTail(command);
  registerVerify(command);
}

function registerTail(parent: Command): void {
  const command = parent
    .command('tail')
    .description('the last lines of the audit log, the newest at the end')
    .option('-n, --lines <n>', 'how many (default: 20)', integer(1, 1_000_000));
  addOutputOptions(command, { list: false }).action(async ({ lines = 20 }: { lines?: number }) => {
    const client = clientOf(command);
    const shown: AuditLine[] = [];
    let cursor: string | undefined;
    do {
      const limit = Math.min(PAGE, lines - shown.length);
      const page = await client.get<{ lines: AuditLine[]; nextCursor: string | null }>('/audit', { limit, cursor });
      shown.push(...page.lines);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined && shown.length < lines);
    shown.reverse();
    print(renderOne(shown, outputOptionsOf(command), () => shown.map((line) => `${visible(textOf(line))}\n`).join('')));
    if (shown.some((line) => 'unreadable' in line)) say('lines are damaged: see morch audit verify');
  });
}

/** One line, the parts that vary least in width first. */
export function textOf(line: AuditLine): string {
  if ('unreadable' in line) return `? unreadable: ${line.unreadable}`;
  const { seq, at, who, from, method, path, what, result } = line;
  const name =
    who.kind === 'scheduler' ? 'scheduler' : `${who.name ?? who.kind}${who.role === null ? '' : ` (${who.role})`}`;
  const request = method === null ? '' : ` ${method} ${path}`;
  const code = result?.code === undefined ? '' : ` ${result.code}`;
  const of = result?.of === undefined ? '' : ` (of ${result.of})`;
  const came = result === undefined ? '' : ` -> ${result.status}${code}${of}`;
  return `${seq} ${at} ${name}${from === null ? '' : ` from ${from}`}:${request}${what === null ? '' : ` ${what}`}${came}`;
}

function registerVerify(parent: Command): void {
  parent
    .command('verify')
    .description('check the chain of an audit log, without its scheduler; exit code 1, with the line, if it is broken')
    .argument('[files...]', 'copies of its files; none: those in the data directory')
    .addOption(
      new Option('--data-dir <path>', "the scheduler's data directory, or its --audit-dir")
        .default(defaultDataDir('scheduler'), describeDataDir('scheduler'))
        .env('MORCH_DATA_DIR'),
    )
    .option('--expect <seq:hash>', 'what an earlier verify printed: it must still be in the log')
    .option(
      '--from <seq>',
      'the first line to check, where files before it were moved away, or are known to be damaged',
      integer(1, Number.MAX_SAFE_INTEGER),
    )
    .action(async (files: string[], { dataDir, expect, from }: VerifyFlags, self: Command) => {
      refuseClientFlags(self);
      await runPart(
        'audit verify',
        { directory: dataDir, files, expect, from },
        flagNames(self, { '/directory': '--data-dir' }),
      );
    });
}
