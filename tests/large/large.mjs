// npm run bench:large, and a part of npm run test:large: a checkpoint of Llama-3.2-1B's size, synthetic, BF16, in shards, is compressed by
// the native compressor within 2 GiB of memory, with the time left shown. Takes minutes, and 3.8 GB of disk.
//
//   node tests/large/large.mjs [--threads N] [--only plain|paper|best] [--keep] [--record]
//
// `best` runs on a model with one of the layers and a small vocabulary, to tell what a layer costs: the whole takes hours.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CONFIG, randomIds, writeLargeCheckpoint } from './checkpoint.mjs';

const root = new URL('../../', import.meta.url).pathname;
const pack = process.env.TANSY_PACK || join(root, 'build/native/tansy-pack');
const LIMIT = 2 * 2 ** 30;

const { values: flags } = parseArgs({
  options: {
    threads: { type: 'string', default: String(Math.min(4, availableParallelism())) },
    only: { type: 'string' },
    keep: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    folder: { type: 'string', default: join(tmpdir(), 'tansy-large') },
  },
});
const { folder, threads } = flags;

/** Peak memory and processor time of a process so far (Linux). @param {number | undefined} pid */
function usage(pid) {
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return { peak: Number(peak?.[1]) * 1024, cpu: (Number(fields[11]) + Number(fields[12])) / 100 };
}

/**
 * @param {string} name
 * @param {string[]} args
 */
async function measure(name, args) {
  const started = Date.now();
  const child = spawn(pack, ['compress', ...args, '--threads', threads, '--progress', 'json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let [peak, cpu, estimates, line] = [0, 0, 0, ''];
  const look = () => {
    try {
      const now = usage(child.pid);
      cpu = Math.max(cpu, now.cpu);
      if (now.peak > 0) peak = now.peak; /* it has no memory any more while it ends */
    } catch {
      /* gone */
    }
  };
  const timer = setInterval(look, 50); // VmHWM is a high-water mark: only what is new in the last moment can be missed
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => {
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const json of lines.map((one) => JSON.parse(one))) {
      if (json.warning) console.log(`  warning: ${json.warning}`);
      if (json.left !== undefined) estimates++;
      if (process.stderr.isTTY && json.stage) process.stderr.write(`\r\x1b[K${name}: ${(100 * json.fraction).toFixed(0)}% ${json.stage} ${json.detail ?? ''} (${json.left ?? '?'} s left)`);
    }
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const report = JSON.parse(stdout);
  assert.equal(status, 0, stdout);
  const result = {
    recipe: name,
    n_params: report.n_params,
    calibration_tokens: report.calibration_tokens,
    file_bytes: report.file_bytes,
    bits_per_weight: Number(report.bits_per_weight.toFixed(4)),
    seconds: Math.round((Date.now() - started) / 1000),
    cpu_seconds: Math.round(cpu),
    peak_memory_bytes: peak,
    time_left_shown: estimates,
  };
  console.log(`${name}: ${(report.file_bytes / 1e6).toFixed(0)} MB, ${report.bits_per_weight.toFixed(3)} b/w, ${result.seconds} s (${result.cpu_seconds} s of processors), peak ${(peak / 2 ** 20).toFixed(0)} MiB`);
  assert.ok(estimates > 3, 'the time left is shown');
  return result;
}

if (!existsSync(pack)) throw new Error(`${pack} is missing: npm run build -- --native`);
mkdirSync(folder, { recursive: true });
const checkpoint = join(folder, 'llama-1b');
const cut = join(folder, 'one-layer');
const ids = join(folder, 'calibration.ids');
const results = [];
try {
  const wanted = (/** @type {string} */ name) => flags.only === undefined || flags.only === name;
  if ((wanted('plain') || wanted('paper')) && !existsSync(join(checkpoint, 'model.safetensors.index.json'))) {
    console.log(`writing ${checkpoint} (2.5 GB)`);
    await writeLargeCheckpoint(checkpoint);
  }
  writeFileSync(ids, randomIds(40000, CONFIG.vocab_size));
  for (const [name, args] of /** @type {[string, string[]][]} */ ([
    ['plain', ['--recipe', 'plain']],
    ['paper', ['--recipe', 'paper', '--bits', '3.64', '--calibration', ids, '--calibration-tokens', '2048']],
  ])) {
    if (!wanted(name)) continue;
    const out = join(folder, `${name}.tansy`);
    const result = await measure(name, [checkpoint, '-o', out, ...args]);
    assert.equal(statSync(out).size, result.file_bytes);
    assert.ok(result.peak_memory_bytes <= LIMIT, `${name} took ${result.peak_memory_bytes} bytes of memory`);
    if (name === 'paper') assert.ok(Math.abs(result.bits_per_weight / 3.64 - 1) < 0.01);
    results.push(result);
    rmSync(out);
  }
  if (wanted('best')) {
    const config = { num_hidden_layers: 1, vocab_size: 4096, bos_token_id: 1, eos_token_id: 2 };
    await writeLargeCheckpoint(cut, config);
    writeFileSync(ids, randomIds(40000, config.vocab_size));
    const result = await measure('best, one layer', [cut, '-o', join(folder, 'best.tansy'), '--bits', '3.2', '--calibration', ids, '--calibration-tokens', '4096']);
    results.push(result);
  }
  if (flags.record) {
    const path = join(root, 'tests/bench/results/large.json');
    const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).results : [];
    const kept = before.filter((/** @type {any} */ old) => !results.some((one) => one.recipe === old.recipe));
    writeFileSync(path, `${JSON.stringify({ command: 'npm run bench:large', threads: Number(threads), model: 'Llama-3.2-1B geometry, random weights, BF16 in 3 shards', results: [...kept, ...results] }, null, 2)}\n`);
  }
} finally {
  if (!flags.keep) rmSync(folder, { recursive: true, force: true });
}
