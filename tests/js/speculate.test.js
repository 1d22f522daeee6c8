// Prompt lookup: the same tokens as without, whatever is guessed.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { load } from '../../js/index.js';
import { Speculation, canSpeculate } from '../../js/speculate.js';
import { built, builds, tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';

const wasmUrl = built(builds[0].wasm);
const folder = mkdtempSync(join(tmpdir(), 'tansy-test-'));
const path = join(folder, 'tiny.tansy');
before(async () => {
  writeCheckpoint(join(folder, 'tiny'));
  await tansyJson(['compress', join(folder, 'tiny'), '-o', path, '--bits', '8', '--no-prune']);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/**
 * @param {import('../../js/index.js').Model} model
 * @param {number[]} prompt
 * @param {import('../../js/index.js').GenerateOptions} options
 */
async function run(model, prompt, options) {
  model.reset();
  const generation = model.generate(prompt, options);
  const text = await generation.text();
  return { text, ids: generation.ids, finishReason: generation.finishReason, position: model.stats().position };
}

test('gives the tokens of plain decoding, greedy and sampled', async () => {
  for (const options of /** @type {const} */ ([{}, { residency: 'packed' }, { kv: 'f16' }, { batchSize: 3 }])) {
    const model = await load(path, { wasmUrl, contextSize: 160, ...options });
    let [drafted, accepted] = [0, 0];
    for (let seed = 0; seed < 12; seed++) {
      /* a prompt that repeats itself, so that there is something to look up */
      const piece = Array.from({ length: 9 }, (_, i) => (seed * 37 + i * i * 11) % model.config.vocab);
      const prompt = [...piece, ...piece, ...piece.slice(0, 4 + (seed % 5))];
      /* cold sampling repeats itself; warm sampling mostly refutes; penalties look at the text so far; 200: until the context is full */
      const sampling = { temperature: [0, 0.05, 0.7][seed % 3], topK: 20, repeatPenalty: seed % 2 ? 1.2 : 1, seed, ignoreEos: seed % 4 !== 0, maxTokens: [40, 200, 1, 2][seed % 4] };
      const plain = await run(model, prompt, { ...sampling, speculate: false });
      const guessed = await run(model, prompt, { ...sampling, speculate: true });
      const stats = model.stats();
      drafted += stats.draftedTokens;
      accepted += stats.acceptedTokens;
      assert.deepEqual({ ...guessed, position: 0 }, { ...plain, position: 0 }, `seed ${seed}`);
      /* and the cache is as good as the plain one's */
      const more = { temperature: 0, maxTokens: 5, ignoreEos: true };
      if (prompt.length + guessed.ids.length + 6 < 160) {
        const next = [...prompt, ...guessed.ids, 1];
        const reused = await model.generate(next, { ...more, speculate: false }).text().then(() => model.generate(next, more));
        await reused.text();
        assert.deepEqual(reused.ids, (await run(model, next, { ...more, speculate: false })).ids);
      }
    }
    assert.ok(drafted > 20 && accepted > 5 && accepted < drafted, `guesses are tried, some right, some wrong: ${accepted} of ${drafted}`);
    model.dispose();
  }
});

test('a reader that leaves early, and one that aborts, leave a model that goes on exactly', async () => {
  const model = await load(path, { wasmUrl, contextSize: 128 });
  const prompt = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3];
  const expected = await run(model, prompt, { temperature: 0, ignoreEos: true, maxTokens: 60, speculate: false });
  for (const stopAt of [1, 2, 5, 9, 17]) {
    const controller = new AbortController();
    let n = 0;
    const generation = model.generate(prompt, { temperature: 0, ignoreEos: true, maxTokens: 60, speculate: true, signal: controller.signal, onToken: () => ++n === stopAt && controller.abort() });
    await assert.rejects(generation.text(), { code: 'TANSY_ABORTED' });
    assert.equal(generation.ids.length, stopAt);
    const again = model.generate(prompt, { temperature: 0, ignoreEos: true, maxTokens: 60, speculate: true });
    await again.text();
    assert.deepEqual(again.ids, expected.ids);
  }
  model.dispose();
});

test('guesses what followed the same three tokens last', () => {
  const s = new Speculation([1, 2, 3, 4, 5, 6, 1, 2, 3, 7, 8, 1, 2], true);
  assert.deepEqual(s.draft(9), []);
  s.push(3);
  assert.deepEqual(s.draft(9), [7, 8, 1, 2]);
  assert.deepEqual(s.draft(2), [7, 8]);
  assert.deepEqual(s.draft(-1), []);
  s.tookDraft(1, 4, [7, 8, 1, 2, 3]);
  assert.deepEqual([s.take(), s.isAhead], [7, true]);
});

test('rests after guesses that cost time, longer each time', () => {
  const s = new Speculation([1, 2, 3, 1, 2, 3, 1, 2, 3], false);
  assert.deepEqual(s.draft(4), [], 'nothing is known of the cost of a token yet');
  s.tookPlain(10);
  for (const rest of [16, 32, 64]) {
    const draft = s.draft(4);
    assert.ok(draft.length > 0);
    s.tookDraft(30, draft.length, [9]);
    s.take();
    for (let i = 0; i < rest; i++) assert.deepEqual(s.draft(4), []);
  }
  const draft = s.draft(4);
  s.tookDraft(12, draft.length, [1, 2, 3]);
  assert.ok(s.draft(4).length > 0, 'a guess that paid is followed by the next');
});

test('leaves alone what changes logits between tokens', () => {
  assert.equal(canSpeculate({ temperature: 0 }), true);
  assert.equal(canSpeculate({ responseFormat: { type: 'json_object' } }), false);
  assert.equal(canSpeculate({ logitBias: {} }), false);
});
