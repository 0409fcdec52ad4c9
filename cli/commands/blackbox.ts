/** `morch blackbox`: what is known of instances that were lost with their node or agent. */
import type { Command } from 'commander';
import type { BlackBoxRecord } from '../../contract/blackBox';
import { clientOf } from '../client';
import { addOutputOptions, outputOptionsOf, print, renderFields, renderOne, say, visible } from '../output';
import { formatBytes } from '../quantities';
import { resolveInstances, workloadPath } from '../resolve';
import { ago, exitText } from '../tables';

export function registerBlackBox(program: Command): void {
  const command = program
    .command('blackbox')
    .description('what was last known of instances that were lost with their node')
    .argument('<id>', 'workload or instance id (web, web.0), or a unique beginning of a workload id')
    .option('--instance <id>', 'of this instance only: web.0, or just 0')
    .addHelpText('after', '\nExamples:\n  $ morch blackbox web\n  $ morch blackbox web.0 -o json');
  addOutputOptions(command, { list: false }).action(async (typed: string, options: { instance?: string }) => {
    const client = clientOf(command);
    const { id, instance } = await resolveInstances(client, typed, options.instance);
    const records = await client.list<BlackBoxRecord>(`${workloadPath(id)}/blackbox`, 'records', { instance });
    const output = outputOptionsOf(command);
    print(renderOne(records, output, () => records.map(renderRecord).join('\n')));
    if (records.length === 0 && output.format === 'table') say(`nothing of ${instance ?? id} was lost with a node`);
  });
}

function renderRecord(record: BlackBoxRecord): string {
  const { instance, generation, node, lostAt, usage, lastLines, reportedAt } = record;
  const last = usage.at(-1);
  const fields = renderFields([
    ['lost', `${lostAt} (${ago(lostAt)} ago)`],
    ['reason', visible(record.reason)],
    ['run', String(record.run)],
    ['pid', String(record.pid ?? '-')],
    ['started', record.startedAt ?? '-'],
    ['last exit', exitText(record.exit)],
    ['attempts', String(record.attempts)],
    ['usage', last === undefined ? '-' : `${usageText(last)} at ${last.at}`],
    ['before', usage.slice(0, -1).reverse().map(usageText).join(', ')],
    ['output', reportedAt === null ? 'none had come in' : `as of ${reportedAt}`],
  ]);
  const streams = (['stdout', 'stderr'] as const).map((stream) => linesOf(stream, lastLines[stream]));
  return `${instance} generation ${generation} on ${node}\n${indented(fields)}${streams.join('')}`;
}

const usageText = ({ cpuPercent, memoryBytes }: BlackBoxRecord['usage'][number]): string =>
  `${Math.round(cpuPercent)}% CPU, ${formatBytes(memoryBytes)}`;

/** Its own words, with what would move the cursor made visible. */
function linesOf(stream: string, text: string): string {
  if (text === '') return '';
  const lines = text.replace(/\n$/, '').split('\n');
  return `  ${stream}:\n${lines.map((line) => `    ${line.split('\t').map(visible).join('\t')}\n`).join('')}`;
}

const indented = (lines: string): string => lines.replace(/^(?=.)/gm, '  ');
