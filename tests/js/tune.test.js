// Tuning: what the best recipe does last. The file comes nearer to its checkpoint, also on a text it was not tuned on, at the same size.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { built, root, runProgram } from './lib/builds.js';
import { gaussian, writeCheckpoint } from './lib/checkpoint.js';

const folder = mkdtempSync(join(tmpdir(), 'tansy-tune-'));
const source = join(folder, 'checkpoint');
const pack = join(root, 'build/native/tansy-pack');
const module = join(root, 'dist/tansy-pack.wasm');
const [learned, other] = ['learned.ids', 'other.ids'].map((name) => join(folder, name));
/** Tokens, low numbers more often than high ones. @param {number} n @param {number} seed */
function text(n, seed) {
  const next = gaussian(seed);
  return Uint16Array.from({ length: n }, () => Math.min(127, Math.floor(Math.abs(next()) * 40)));
}
before(() => {
  built(pack);
  const config = { hidden_size: 32, intermediate_size: 64, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, vocab_size: 128, num_hidden_layers: 1, tie_word_embeddings: true };
  writeCheckpoint(source, { config, tokenizer: false });
  writeFileSync(learned, text(20000, 1));
  writeFileSync(other, text(6000, 2));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** @param {string} out @param {string[]} args @param {boolean} [wasi] */
async function compress(out, args, wasi = false) {
  const all = ['compress', source, '-o', join(folder, out), '--bits', '5', '--calibration', learned, '--window', '64', ...args];
  const { status, stdout, stderr } = wasi ? await runProgram(process.execPath, ['--no-warnings', join(root, 'js/cli/run_wasi.js'), module, ...all]) : await runProgram(pack, all);
  assert.equal(status, 0, stdout + stderr);
  return { report: JSON.parse(stdout), bytes: readFileSync(join(folder, out)) };
}

/** @param {string} file */
async function divergence(file) {
  const { stdout } = await runProgram(pack, ['eval', join(folder, file), '--tokens', other, '--reference', source]);
  return JSON.parse(stdout).kl;
}

test('tuning brings the file nearer to its checkpoint, on tokens it has not seen, and hits the size; same bytes for any threads', async () => {
  const [without, tuned, again] = [await compress('without.tansy', ['--tune-tokens', '0']), await compress('tuned.tansy', ['--tune-tokens', '200000', '--threads', '1']), await compress('again.tansy', ['--tune-tokens', '200000', '--threads', '3'])];
  assert.equal(without.report.tuning, undefined);
  assert.equal(tuned.report.tuning, 'done');
  assert.ok(tuned.report.tuning_kl_after < tuned.report.tuning_kl_before);
  assert.ok(Math.abs(tuned.report.bits_per_weight / 5 - 1) < 0.01, `${tuned.report.bits_per_weight}`);
  const [before, now] = [await divergence('without.tansy'), await divergence('tuned.tansy')];
  assert.ok(now < 0.85 * before, `${before} before, ${now} after`);
  assert.equal(Buffer.compare(tuned.bytes, again.bytes), 0);
});

test('tuning by the WASI compressor gives the same bytes', async () => {
  built(module);
  const args = ['--tune-tokens', '12000', '--calibration-tokens', '3000'];
  assert.equal(Buffer.compare((await compress('native.tansy', args)).bytes, (await compress('wasi.tansy', args, true)).bytes), 0);
});

test('what is left out is said: here, a text too short', async () => {
  const { report } = await compress('short.tansy', []);
  assert.equal(report.tuning, 'text too short');
});
