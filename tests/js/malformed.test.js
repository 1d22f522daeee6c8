// Every broken file gives its code in every build, and none makes a module trap. The files are what their generator makes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { built, builds, root, runProgram } from './lib/builds.js';

const folder = join(root, 'tests/malformed');
const table = Object.fromEntries(
  readFileSync(join(folder, 'table.txt'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(' ')),
);

test('the table names every file, and the generator makes the same', () => {
  assert.ok(Object.keys(table).length > 150);
  const out = mkdtempSync(join(tmpdir(), 'tansy-malformed-'));
  try {
    execFileSync(built(join(root, 'build/native/tests/make-malformed')), [out]);
    const made = readdirSync(out).sort();
    assert.deepEqual(readdirSync(folder).filter((name) => !name.endsWith('.c')).sort(), made);
    for (const name of made) assert.equal(Buffer.compare(readFileSync(join(folder, name)), readFileSync(join(out, name))), 0, name);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});

for (const build of builds)
  test(`${build.name}: every broken file gives its code`, async () => {
    const { status, stdout, stderr } = await runProgram(build.node(), [`${root}tests/js/lib/load_malformed.js`, built(build.wasm), String(build.threads ?? 1)]);
    assert.equal(status, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), table);
  });
