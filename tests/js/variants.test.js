// The same file, prompt and seed give the same bits in every build and every form of the weights.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { built, builds, nativeRunner, root, runProgram, sharedPath, tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';

const folder = mkdtempSync(join(tmpdir(), 'tansy-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const tiny = join(folder, 'tiny.tansy');
before(async () => {
  writeCheckpoint(join(folder, 'tiny'));
  await tansyJson(['compress', join(folder, 'tiny'), '-o', tiny, '--bits', '4', '--no-prune']);
});

/** @param {string} model */
async function probe(model, /** @type {typeof builds[number]} */ build) {
  const { status, stdout, stderr } = await runProgram(build.node(), [`${root}tests/js/lib/probe.js`, model, built(build.wasm), String(build.threads ?? 1)]);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

/** @param {string} model @param {number} vocab */
async function probeNative(model, vocab) {
  const prompt = Array.from({ length: 40 }, (_, i) => (i * i * 7 + 11) % vocab).join(',');
  const out = join(folder, 'native.f32');
  const run = async (/** @type {string[]} */ args) => {
    const { status, stdout, stderr } = await runProgram(built(nativeRunner), [model, '--ids', prompt, ...args]);
    assert.equal(status, 0, stderr);
    return stdout.trim().split(',').map(Number);
  };
  const greedy = await run(['-n', '24', '--logits', out, '--all']);
  const logits = createHash('sha256').update(readFileSync(out)).digest('hex');
  const sampled = await run(['-n', '24', '--temp', '0.8', '--top-k', '40', '--top-p', '0.95', '--min-p', '0.05', '--repeat', '1.1', '--seed', '42']);
  return { logits, greedy, sampled };
}

for (const [name, path, vocab] of /** @type {const} */ ([
  ['a random model', () => tiny, 260],
  ['the embedded model', () => join(root, 'demo', EMBEDDED_MODEL), 4096],
]))
  test(`${name}: native and wasm, ANS and packed and int8, batched and not: the same logits, the same tokens`, async () => {
    const native = await probeNative(path(), vocab);
    assert.equal(native.greedy.length, 24);
    for (const build of builds) {
      const ways = await probe(path(), build);
      assert.equal(Object.keys(ways).length, 5);
      for (const [way, { logits, greedy, sampled, kernels, threads }] of /** @type {[string, any][]} */ (Object.entries(ways))) {
        assert.equal(kernels, build.name.startsWith('relaxed') ? 'relaxed' : 'simd128');
        assert.equal(threads, build.threads ?? 1);
        assert.deepEqual(greedy, native.greedy, `${build.name}, ${way}`);
        assert.equal(logits, native.logits, `${build.name}, ${way}`);
        assert.deepEqual(sampled, native.sampled, `${build.name}, ${way}`);
      }
    }
  });

test('stories260K at plain 8 bits tells the story that other implementations tell, in every build', async (t) => {
  const stories = sharedPath(t, 'models/stories260K');
  if (stories === undefined) return;
  const model = join(folder, 'stories.tansy');
  await tansyJson(['compress', stories, '-o', model, '--bits', '8', '--no-prune']);
  const begin =
    'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.';
  for (const build of builds) {
    const { text } = await tansyJson(['run', '-m', model, '-p', 'Once upon a time', '-n', '60', '--temp', '0', '--wasm', build.wasm, '-t', String(build.threads ?? 1)], { node: build.node() });
    assert.ok(`Once upon a time${text}`.startsWith(begin), `${build.name}: ${text}`);
  }
});
