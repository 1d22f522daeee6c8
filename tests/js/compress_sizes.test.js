// Models of unusual sizes in the compressor: a vocabulary that is never in memory whole, and models too small for the default size.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { randomIds, writeLargeCheckpoint } from '../large/checkpoint.mjs';
import { built, root, runProgram } from './lib/builds.js';

const pack = join(root, 'build/native/tansy-pack');
const folder = mkdtempSync(join(tmpdir(), 'tansy-sizes-'));
before(() => built(pack));
after(() => rmSync(folder, { recursive: true, force: true }));

/** @param {string} name @param {Parameters<typeof writeLargeCheckpoint>[1]} geometry @param {number} nTokens */
async function make(name, geometry, nTokens) {
  const path = join(folder, name);
  const ids = join(folder, `${name}.ids`);
  await writeLargeCheckpoint(path, { num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, bos_token_id: 1, eos_token_id: 2, ...geometry });
  writeFileSync(ids, randomIds(nTokens, geometry?.vocab_size ?? 0));
  return { path, args: ['compress', path, '-o', join(folder, `${name}.tansy`), '--calibration', ids] };
}

test('the embedding of a large vocabulary is rounded and coded in blocks', { skip: process.platform !== 'linux' && 'reads /proc' }, async () => {
  const vocab = 60000;
  const hidden = 256;
  const { args } = await make('wide', { hidden_size: hidden, intermediate_size: 64, head_dim: 16, vocab_size: vocab }, 192);
  const child = spawn(pack, [...args, '--bits', '3.2', '--window', '64', '--threads', '2', '--tensor-memory', '1000000'], { stdio: ['ignore', 'pipe', 'ignore'] });
  let [peak, report] = [0, ''];
  const timer = setInterval(() => {
    try {
      peak = Math.max(peak, 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0));
    } catch {
      /* gone */
    }
  }, 10);
  child.stdout.setEncoding('utf8').on('data', (text) => (report += text));
  const [status] = await once(child, 'close');
  clearInterval(timer);
  assert.equal(status, 0, report);
  assert.ok(Math.abs(JSON.parse(report).bits_per_weight / 3.2 - 1) < 0.01);
  // 16 bits an integer, logits of all tokens at once at most 128 MiB, and some blocks of rows; as floats it would be 61 MB, and twice that while it is rounded
  const floats = 4 * vocab * hidden;
  assert.ok(peak > 10e6 && peak < 2.2 * floats, `${(peak / 1e6).toFixed(0)} MB`);
  assert.ok(!readdirSync(folder).some((name) => /parts|resume|partial/.test(name)));
});

test('a model too small for the default size is compressed all the same, with a warning; a size that was asked for is an error', async () => {
  const { path, args } = await make('tiny', { hidden_size: 16, intermediate_size: 32, head_dim: 8, vocab_size: 64 }, 9000);
  for (const recipe of ['best', 'paper']) {
    const asDefault = await runProgram(pack, [...args, '--recipe', recipe]);
    assert.equal(asDefault.status, 0, asDefault.stdout);
    const bits = JSON.parse(asDefault.stdout).bits_per_weight;
    const told = /does not come to the 3\.2 bits per weight that are usual: these are (\d+\.\d\d)/.exec(asDefault.stderr)?.[1];
    assert.equal(told, Math.abs(bits / 3.2 - 1) < 0.01 ? undefined : bits.toFixed(2), recipe);
  }
  const asked = await runProgram(pack, [...args, '--bits', '3.2']);
  assert.equal(asked.status, 2);
  assert.match(asked.stdout, /bits per weight are too few: \d+ bytes go to what is not weights|cannot be met; the nearest/);

  const shard = readdirSync(path).find((name) => name.endsWith('.safetensors')) ?? '';
  const bytes = readFileSync(join(path, shard));
  writeFileSync(join(path, shard), bytes.fill(0, 8 + Number(bytes.readBigUInt64LE())));
  for (const recipe of ['best', 'paper', 'plain']) {
    const { status, stdout, stderr } = await runProgram(pack, [...args, '--recipe', recipe]);
    assert.equal(status, 0, stdout);
    assert.match(stderr, /every matrix is all zeros: is this checkpoint complete\?/, recipe);
  }
});
