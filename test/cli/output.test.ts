import { type Listing, type OutputOptions, renderFields, renderList, visible, wantsColour } from '../../cli/output';
import { Changes } from '../../cli/watch';

interface Cat {
  id: string;
  mood: string;
  lives: number;
}

const CATS: Listing<Cat> = {
  noun: 'cat',
  id: (cat) => cat.id,
  columns: [
    { title: 'CAT', value: (cat) => cat.id },
    { title: 'MOOD', value: (cat) => cat.mood, status: true },
    { title: 'LIVES', value: (cat) => String(cat.lives), align: 'right', volatile: true },
    { title: 'SECRET', value: () => 'none', wide: true },
  ],
};
const TOM = { id: 'tom', mood: 'running', lives: 9 };
const KITTY = { id: 'kitty', mood: 'failed', lives: 10 };
const PLAIN: OutputOptions = { format: 'table', quiet: false, headers: true, colour: false, width: undefined };

describe('lists', () => {
  const render = (options: Partial<OutputOptions>, cats: Cat[] = [TOM, KITTY]) =>
    renderList(cats, CATS, { ...PLAIN, ...options });

  test('are aligned tables', () => {
    expect(render({})).toBe('CAT    MOOD     LIVES\ntom    running      9\nkitty  failed      10\n');
  });

  test('show more when wide', () => {
    expect(render({ format: 'wide' }).split('\n')[0]).toBe('CAT    MOOD     LIVES  SECRET');
  });

  test('leave the titles out', () => {
    expect(render({ headers: false })).toBe('tom    running   9\nkitty  failed   10\n');
  });

  test('are ids, names, JSON or YAML', () => {
    expect(render({ quiet: true })).toBe('tom\nkitty\n');
    expect(render({ format: 'name' })).toBe('cat/tom\ncat/kitty\n');
    expect(JSON.parse(render({ format: 'json' }))).toEqual([TOM, KITTY]);
    expect(render({ format: 'yaml' }, [TOM])).toBe('- id: tom\n  mood: running\n  lives: 9\n');
  });

  test('are nothing when empty, but valid JSON', () => {
    expect(render({}, [])).toBe('');
    expect(render({ format: 'json' }, [])).toBe('[]\n');
  });

  test('colour statuses without moving the columns', () => {
    expect(render({ colour: true }).split('\n')[2]).toBe('kitty  \u001b[31mfailed \u001b[0m     10');
  });

  test('are cut to the width of a terminal', () => {
    expect(render({ width: 16 }).split('\n')[1]).toBe('tom    running');
    expect(render({ width: 10 }).split('\n')[1]).toBe('tom    ru…');
  });

  test('show control characters rather than send them to the terminal', () => {
    expect(render({}, [{ ...TOM, mood: 'a\u001b[31mb\nc' }])).toContain('a\\x1b[31mb\\nc');
    expect(visible('ü\u009b')).toBe('ü\\x9b');
  });
});

test('fields are aligned and empty ones left out', () => {
  expect(
    renderFields([
      ['id', 'tom'],
      ['owner', ''],
      ['mood', 'good'],
    ]),
  ).toBe('id:   tom\nmood: good\n');
});

test.each([
  [true, {}, true],
  [false, {}, false],
  [undefined, {}, false],
  [true, { NO_COLOR: '1' }, false],
  [true, { NO_COLOR: '' }, true],
  [true, { TERM: 'dumb' }, false],
])('colour with terminal %s and %o: %s', (isTerminal, env, wanted) => {
  expect(wantsColour(isTerminal, env)).toBe(wanted);
});

test('a watched list tells what is new, changed and gone, but not what moves by itself', () => {
  const changes = new Changes(CATS);
  expect(changes.take([TOM, KITTY])).toEqual({ changed: [TOM, KITTY], gone: [] });
  expect(changes.take([{ ...TOM, lives: 8 }, KITTY])).toEqual({ changed: [], gone: [] });
  const sleepy = { ...TOM, mood: 'stopped' };
  expect(changes.take([sleepy])).toEqual({ changed: [sleepy], gone: ['kitty'] });
});
