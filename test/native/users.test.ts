import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';

import { useWorkloads } from './workloads';

const { native } = useWorkloads();

/** Known on every Linux. */
const entries = readFileSync('/etc/passwd', 'utf8')
  .trim()
  .split('\n')
  .map((line) => line.split(':'));

describe('lookUpUser', () => {
  test('finds every user of /etc/passwd, by name and by number, with the groups that id(1) shows', async () => {
    for (const [name, , uid, gid, , home] of entries) {
      const groups = execFileSync('id', ['-G', name!]).toString().trim().split(' ').map(Number);
      const user = await native.lookUpUser(name!);
      expect(user).toEqual({ name, uid: Number(uid), gid: Number(gid), groups: expect.any(Array), home });
      expect([...user!.groups].sort()).toEqual(groups.sort());
      expect((await native.lookUpUser(uid!))!.uid).toBe(Number(uid));
    }
  });

  test('finds the user that runs this', async () => {
    const { uid, gid, username } = userInfo();
    expect(await native.lookUpUser(String(uid))).toMatchObject({ name: username, uid, gid });
  });

  test('takes a number without entry as it is: gid alike, no groups, home /', async () => {
    const free = [54_321, 54_322, 54_323].find((uid) => !entries.some((entry) => Number(entry[2]) === uid))!;
    expect(await native.lookUpUser(`${free}`)).toEqual({
      name: `${free}`,
      uid: free,
      gid: free,
      groups: [],
      home: '/',
    });
  });

  test('knows no user by a name or number that cannot be', async () => {
    for (const name of ['no-such-user', '', '-1', '+0', '1.5', '0x0', ' 0', '4294967295', '4294967296', '0 ', 'ünï']) {
      expect(await native.lookUpUser(name)).toBeNull();
    }
  });

  test('answers many questions at once', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, () => native.lookUpUser('root')));
    expect(new Set(answers.map((user) => user!.home)).size).toBe(1);
  });
});
