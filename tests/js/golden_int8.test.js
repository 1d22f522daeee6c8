// Golden checkpoints of every family at 8 bits, against logits of two independent implementations.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runPack } from '../../js/cli/pack.js';
import { load } from '../../js/index.js';
import { sharedPath } from './lib/builds.js';

const scratch = mkdtempSync(join(tmpdir(), 'tansy-golden-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** @param {string} path @param {number[]} ids */
async function logitsOf(path, ids) {
  const model = await load(path);
  try {
    return await model.logits(ids);
  } finally {
    model.dispose();
  }
}

/** @param {Float32Array} got @param {Float32Array} expected @param {number} vocab */
function compare(got, expected, vocab) {
  let error = 0;
  let power = 0;
  for (let i = 0; i < got.length; i++) {
    error += (got[i] - expected[i]) ** 2;
    power += expected[i] ** 2;
  }
  const rms = Math.sqrt(error / got.length);
  let clear = 0;
  let agree = 0;
  for (let at = 0; at < got.length; at += vocab) {
    const row = expected.subarray(at, at + vocab);
    const best = row.indexOf(Math.max(...row));
    const second = Math.max(...row.filter((_, i) => i !== best));
    const mine = got.subarray(at, at + vocab);
    if (row[best] - second < 6 * rms) continue; // nearer than the error of a difference can tell apart
    clear++;
    agree += Number(mine.indexOf(Math.max(...mine)) === best);
  }
  return { rms, relative: rms / Math.sqrt(power / got.length), clear, agree };
}

// What 8-bit rounding explains. One linear of 8-bit weights (step = a row's largest / 127: 0.6% of a Gaussian row's norm) and
// 8-bit activations (the same, per block of 128) is off by about 1%; a random network of 3 layers, 21 linears, attention and
// gates in between, makes that 2% to 8% of the logits' rms (measured on all 13 cases). Rounding also halves with every bit:
// a bug does not, so the error at 6, 7 and 8 bits must follow e² = a + w² 4^-bits.
test('8-bit golden checkpoints of every family stay within what rounding explains', async (t) => {
  const folder = sharedPath(t, 'golden');
  if (folder === undefined) return;
  for (const name of readdirSync(folder).filter((entry) => !entry.includes('.'))) {
    const dir = join(folder, name);
    const golden = JSON.parse(readFileSync(join(dir, 'golden.json'), 'utf8'));
    const bytes = Buffer.from(golden.logits_b64, 'base64');
    const expected = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const vocab = golden.logits_shape[1];
    const errors = [];
    for (const bits of [8, 7, 6]) {
      const file = join(scratch, `${name}-${bits}.tansy`);
      await runPack(['compress', dir, '-o', file, '--bits', String(bits), '--no-prune']);
      const got = await logitsOf(file, golden.ids);
      assert.equal(got.length, expected.length);
      const c = compare(got, expected, vocab);
      errors.push(c.rms);
      if (bits !== 8) continue;
      t.diagnostic(`${name}: rms ${c.rms.toFixed(4)}, ${(100 * c.relative).toFixed(1)}% of the logits', top-1 ${c.agree} of ${c.clear} clear ones`);
      assert.ok(c.relative < 0.09, `${name}: ${c.relative}`);
      assert.equal(c.agree, c.clear, `${name}: argmax`);
    }
    const [e8, e7, e6] = errors.map((e) => e * e);
    const ratio = (e6 - e7) / (e7 - e8); // 4 for pure rounding
    assert.ok(ratio > 2 && ratio < 8, `${name}: errors ${errors} do not shrink as rounding does`);
  }
});

// LayerNorms, biases, plain MLPs, soft caps, norms after attention and MLP: parts that a Llama lacks, forwards and backwards.
test('the best recipe beats the paper\'s on families unlike Llama', async (t) => {
  const folder = sharedPath(t, 'golden');
  if (folder === undefined) return;
  for (const name of ['gpt2-A', 'opt-A', 'gemma2-A']) {
    const dir = join(folder, name);
    const { vocab_size: vocab } = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'));
    const ids = Uint16Array.from({ length: 3600 }, (_, i) => ((i * i * 7) % 251) * ((i * 13) % 17) % vocab);
    const [seen, held] = [join(scratch, 'seen.ids'), join(scratch, 'held.ids')];
    writeFileSync(seen, ids.subarray(0, 3072));
    writeFileSync(held, ids.subarray(3072));
    /** @type {Record<string, number>} */
    const kl = {};
    for (const recipe of ['paper', 'best']) {
      const file = join(scratch, `${name}-${recipe}.tansy`);
      await runPack(['compress', dir, '-o', file, '--recipe', recipe, '--bits', '5', '--calibration', seen]);
      ({ kl: kl[recipe] } = await runPack(['eval', file, '--reference', dir, '--tokens', held, '--window', '64']));
    }
    t.diagnostic(`${name}: ${kl.best.toFixed(4)} nats, paper ${kl.paper.toFixed(4)}`);
    assert.ok(kl.best > 0 && kl.best < kl.paper, `${name}: ${JSON.stringify(kl)}`);
  }
});
