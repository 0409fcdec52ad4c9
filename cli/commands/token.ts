/** `morch token`: makes, lists and revokes tokens. */
import { type Command, Option } from 'commander';
import { type CreatedToken, type Token, tokenRoleSchema } from '../../contract/access';
import { clientOf } from '../client';
import { flag, integer } from '../flags';
import { addOutputOptions, outputOptionsOf, print, printList, renderOne, say } from '../output';
import { parseDurationMs } from '../quantities';
import { TOKENS } from '../tables';

interface CreateFlags {
  role: string;
  expires?: number;
  maxUses?: number;
}

export function registerToken(program: Command): void {
  const command = program
    .command('token')
    .description('make, list and revoke tokens')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch token create ci --role operator --expires 30d\n' +
        '  $ morch token create rack7 --role join --max-uses 20 --expires 1h > join.token\n' +
        '  $ morch token list\n  $ morch token revoke 1f0c2d3e',
    );
  registerCreate(command);
  registerList(command);
  command
    .command('revoke')
    .description('make a token good for nothing; what it holds open ends')
    .argument('<id>', 'of the token, as morch token list tells it')
    .action(async (id: string, _flags: unknown, self: Command) => {
      await clientOf(self).delete(`/tokens/${encodeURIComponent(id)}`);
      say(`token ${id}: revoked`);
    });
}

function registerCreate(parent: Command): void {
  const command = parent
    .command('create')
    .description('make a token; its text is printed this once')
    .argument('<name>', 'what it is for, such as ci')
    .addOption(
      new Option(
        '--role <role>',
        'what it allows: each of read, operator, admin includes those before; join: agents only',
      )
        .choices(tokenRoleSchema.options)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--expires <time>', 'how long it is good, such as 30d (default: for ever)').argParser(
        flag(parseDurationMs),
      ),
    )
    .addOption(
      new Option('--max-uses <n>', 'of a join token: how many nodes it lets in (default: any)').argParser(
        integer(1, 1_000_000),
      ),
    );
  addOutputOptions(command, { list: false });
  command.action(async (name: string, { role, expires, maxUses }: CreateFlags) => {
    const created = await clientOf(command).post<CreatedToken>('/tokens', {
      name,
      role,
      expiresInMs: expires,
      maxUses,
    });
    print(renderOne(created, outputOptionsOf(command), () => created.token));
    const until = created.expiresAt === null ? '' : `, good until ${created.expiresAt}`;
    say(`token ${created.id} (${name}, ${role}${until}); it is not shown again`);
  });
}

function registerList(parent: Command): void {
  const command = parent.command('list').description('list the tokens, without their texts');
  addOutputOptions(command, { list: true });
  command.action(async () => {
    printList(await clientOf(command).list<Token>('/tokens', 'tokens'), TOKENS, outputOptionsOf(command));
  });
}
