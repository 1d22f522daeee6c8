// The rules of src/README.md that a compiler does not check: include directions, the prefix of global symbols, no mutable
// globals and no I/O in the core.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readSourceLists, sourceDirs } from '../../scripts/lib/source_lists.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Which directories of src/ a directory may include from, besides its own. */
const mayInclude = {
  base: [],
  codec: ['base'],
  format: ['base', 'codec'],
  kernels: ['base', 'codec'],
  model: ['base', 'codec', 'format', 'kernels', ''], // '': tansy.h, whose structs it fills
  pack: ['base', 'codec', 'format', 'kernels', 'model', ''],
  '': ['base', 'codec', 'format', 'kernels', 'model'], // tansy.h, tansy.c
};

function cFiles(dir) {
  return readdirSync(join(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[ch]$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}

const ownIncludes = (file) => [...readFileSync(join(root, file), 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map((match) => match[1]);

test('includes in src/ point down', () => {
  const wrong = [];
  let seen = 0;
  for (const file of cFiles('src')) {
    const parts = file.split('/');
    const from = parts.length > 2 ? parts[1] : '';
    assert.ok(from in mayInclude, `${file} lies in a directory that has no rule`);
    for (const include of ownIncludes(file)) {
      seen++;
      const to = include.includes('/') ? include.split('/')[0] : '';
      if (!existsSync(join(root, 'src', include))) wrong.push(`${file} includes "${include}", which is not a path from src/`);
      else if (to !== from && !mayInclude[from].includes(to)) wrong.push(`${file} includes "${include}"`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen > 20, `only ${seen} includes found: the search is broken`);
});

test('wasm/bridge.c includes tansy.h alone', () => {
  assert.deepEqual(ownIncludes('wasm/bridge.c'), ['tansy.h']);
});

test('every C file of src/ is in a source list, and every listed file exists', () => {
  const lists = readSourceLists();
  const listed = new Set([...lists.core, ...lists.relaxed, ...lists.packlib, ...lists.packMain]);
  assert.deepEqual([...listed].filter((file) => !existsSync(join(root, file))), []);
  assert.deepEqual(cFiles('src').filter((file) => file.endsWith('.c') && !listed.has(file)), []);
});

/** Symbols of a static library, as [type letter, name]. */
function symbols(library) {
  const path = join(root, 'build', 'native', library);
  assert.ok(existsSync(path), `${path} is missing: npm test builds it first`);
  return execFileSync('llvm-nm-19', ['--no-llvm-bc', path], { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .map((line) => line.match(/^[0-9a-f]* *([A-Za-z]) (\S+)$/))
    .filter(Boolean)
    .map((match) => [match[1], match[2]]);
}

for (const library of ['libtansy_core.a', 'libtansy_packlib.a']) {
  test(`every global symbol of ${library} begins with tansy_`, () => {
    const defined = symbols(library).filter(([type]) => 'TDBRWVC'.includes(type));
    assert.ok(defined.length > 5, 'no symbols found: the search is broken');
    assert.deepEqual(defined.filter(([, name]) => !name.startsWith('tansy_')).map(([, name]) => name), []);
  });
}

test('the core keeps no mutable globals, allocates nothing and does no I/O', () => {
  const library = join(root, 'build', 'native', 'libtansy_core.a');
  // section and name of every symbol; constants that hold pointers lie in .data.rel.ro until the program is loaded
  const data = execFileSync('llvm-objdump-19', ['-t', library], { encoding: 'utf8', maxBuffer: 1 << 26 })
    .split('\n')
    .filter((line) => / O \.?\S/.test(line));
  assert.ok(data.length > 5, 'no objects found: the search is broken');
  assert.deepEqual(data.filter((line) => / O (\.data(?!\.rel\.ro)|\.t?bss|\.tdata|\*COM\*)/.test(line)), []);

  const all = symbols('libtansy_core.a');
  // what compilers call for struct copies and clears, and what threads need
  const allowed = /^(tansy_|mem(cpy|move|set|cmp)$|strlen$|__assert_fail$|pthread_|thrd_yield$|timespec_get$|sched_yield$|__stack_chk_fail$|_GLOBAL_OFFSET_TABLE_$)/;
  const foreign = [...new Set(all.filter(([type]) => type === 'U').map(([, name]) => name))].filter((name) => !allowed.test(name));
  assert.deepEqual(foreign, []);
});

test('directories of src/ are the ones that have source lists', () => {
  const dirs = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  assert.deepEqual(dirs.sort(), [...sourceDirs].sort());
});
