// npm run bench:large, and a part of npm run test:large: a checkpoint of Llama-3.2-1B's size, synthetic, BF16, in shards, is compressed by
// the native compressor within 2 GiB of memory, with the time left shown. Takes minutes, `best` an hour and more; and 4 GB of disk.
//
//   node tests/large/large.mjs [--threads N] [--only plain|paper|best] [--minutes N] [--segment N] [--layers N]
//                              [--calibration-tokens N] [--keep] [--record] [--folder DIR]
//
// --minutes ends `best` after so long: what it has needed by then is told, with the time left that it shows. --segment kills it every N
// minutes, and it goes on from what it has saved. --layers: fewer of them, to tell what each costs. --calibration-tokens: of `best`.
// --keep: checkpoint and files in DIR stay, and a run that was ended goes on from there. --record: writes results/large.json.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseOptions } from '../bench/lib/options.mjs';
import { CONFIG, randomIds, writeLargeCheckpoint } from './checkpoint.mjs';

const root = new URL('../../', import.meta.url).pathname;
const pack = process.env.TANSY_PACK || join(root, 'build/native/tansy-pack');
const LIMIT = 2 * 2 ** 30;

const flags = parseOptions(import.meta.url, {
  threads: { type: 'string', default: String(Math.min(4, availableParallelism())) },
  only: { type: 'string' },
  minutes: { type: 'string' },
  segment: { type: 'string' },
  layers: { type: 'string', default: '16' },
  'calibration-tokens': { type: 'string', default: '32768' },
  keep: { type: 'boolean', default: false },
  record: { type: 'boolean', default: false },
  folder: { type: 'string', default: join(tmpdir(), 'tansy-large') },
});
const { folder, threads } = flags;

/** Memory now and at its peak, and processor time so far, of a process (Linux). Files are read, not mapped: all of it is its own. @param {number | undefined} pid */
function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const [resident, peak] = ['VmRSS', 'VmHWM'].map((name) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) * 1024);
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return { resident, peak, cpu: (Number(fields[11]) + Number(fields[12])) / 100 };
}

/** @typedef {{ seconds: number, cpu_seconds: number, peak_memory_bytes: number, time_left_shown: number }} Phase */

/**
 * One process, to its end or until it is killed.
 * @param {string} name
 * @param {string[]} args
 * @param {number} limit seconds
 * @param {Map<string, Phase>} phases what each stage takes; added to
 */
async function run(name, args, limit, phases) {
  const child = spawn(pack, ['compress', ...args, '--threads', threads, '--progress', 'json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, line, stage, estimates, peak] = ['', '', 'start', 0, 0];
  /** @type {{ left?: number, fraction?: number }} */
  let last = {};
  let [before, said] = [{ time: Date.now(), cpu: 0 }, Date.now()];
  const look = () => {
    try {
      const now = { time: Date.now(), ...usage(child.pid) };
      const phase = phases.get(stage) ?? { seconds: 0, cpu_seconds: 0, peak_memory_bytes: 0, time_left_shown: 0 };
      phase.seconds += (now.time - before.time) / 1000;
      phase.cpu_seconds += now.cpu - before.cpu;
      phase.peak_memory_bytes = Math.max(phase.peak_memory_bytes, now.resident);
      phases.set(stage, phase);
      peak = Math.max(peak, now.peak);
      before = now;
    } catch {
      /* gone */
    }
  };
  const timer = setInterval(look, 25);
  const killer = Number.isFinite(limit) ? setTimeout(() => child.kill('SIGKILL'), limit * 1000) : undefined;
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => {
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const json of lines.map((one) => JSON.parse(one))) {
      if (json.warning) console.log(`  warning: ${json.warning}`);
      if (json.left !== undefined) estimates++;
      if (!json.stage) continue;
      look();
      stage = json.stage;
      last = json;
      const phase = phases.get(stage);
      if (phase && json.left !== undefined) phase.time_left_shown++;
      const at = `${(100 * json.fraction).toFixed(1)}% ${json.stage} ${json.detail ?? ''} (${json.left === undefined ? '?' : json.left.toFixed(0)} s left)`;
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${name}: ${at}`);
      else if (Date.now() - said > 60000) {
        said = Date.now();
        console.log(`  ${at}, ${(peak / 2 ** 20).toFixed(0)} MiB at most`);
      }
    }
  });
  const status = await new Promise((resolve) => child.on('close', (code) => resolve(code)));
  clearInterval(timer);
  clearTimeout(killer);
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return { status, stdout, estimates, last, peak };
}

/**
 * @param {string} name
 * @param {string[]} args
 * @param {{ segment?: number, total?: number }} [limits] seconds
 */
async function measure(name, args, { segment = Infinity, total = Infinity } = {}) {
  const goesOn = existsSync(`${args[args.indexOf('-o') + 1]}.resume`); /* seconds and phases are those since then */
  /** @type {Map<string, Phase>} */
  const phases = new Map();
  const started = Date.now();
  let [runs, estimates, peak] = [0, 0, 0];
  /** @type {Awaited<ReturnType<typeof run>>} */
  let end;
  do {
    const left = total - (Date.now() - started) / 1000;
    end = await run(name, args, Math.min(segment, left), phases);
    estimates += end.estimates;
    peak = Math.max(peak, end.peak);
    runs++;
    if (end.status === null) console.log(`  ${name}: killed at ${(100 * (end.last.fraction ?? 0)).toFixed(1)}%, ${end.last.left ?? '?'} s left`);
  } while (end.status === null && (Date.now() - started) / 1000 < total - 1);
  assert.ok(end.status === 0 || end.status === null, end.stdout);
  const report = end.status === 0 ? JSON.parse(end.stdout) : {};
  const seconds = Math.round((Date.now() - started) / 1000);
  const result = {
    recipe: name,
    threads: Number(threads),
    ...(goesOn ? { goes_on_from_an_earlier_run: true } : {}),
    n_params: report.n_params,
    calibration_tokens: report.calibration_tokens,
    file_bytes: report.file_bytes,
    bits_per_weight: report.bits_per_weight && Number(report.bits_per_weight.toFixed(4)),
    ...(end.status === 0 ? { seconds } : { stopped_after_seconds: seconds, fraction_done: end.last.fraction, seconds_left_shown: end.last.left }),
    cpu_seconds: Math.round([...phases.values()].reduce((sum, phase) => sum + phase.cpu_seconds, 0)),
    peak_memory_bytes: peak,
    time_left_shown: estimates,
    runs,
    phases: Object.fromEntries([...phases].map(([stage, phase]) => [stage, { ...phase, seconds: Math.round(phase.seconds), cpu_seconds: Math.round(phase.cpu_seconds) }])),
  };
  const size = end.status === 0 ? `${(report.file_bytes / 1e6).toFixed(0)} MB, ${report.bits_per_weight.toFixed(3)} b/w, ` : `stopped at ${(100 * (end.last.fraction ?? 0)).toFixed(0)}%, `;
  console.log(`${name}: ${size}${seconds} s (${result.cpu_seconds} s of processors), peak ${(result.peak_memory_bytes / 2 ** 20).toFixed(0)} MiB`);
  for (const [stage, phase] of phases) console.log(`  ${stage.padEnd(12)} ${phase.seconds.toFixed(0).padStart(6)} s ${(phase.peak_memory_bytes / 2 ** 20).toFixed(0).padStart(6)} MiB`);
  assert.ok(estimates > 3, 'the time left is shown');
  assert.ok(result.peak_memory_bytes <= LIMIT, `${name} took ${result.peak_memory_bytes} bytes of memory`);
  return result;
}

if (!existsSync(pack)) throw new Error(`${pack} is missing: npm run build -- --native`);
mkdirSync(folder, { recursive: true });
const nLayers = Number(flags.layers);
const checkpoint = join(folder, `llama-1b-${nLayers}`);
const ids = join(folder, 'calibration.ids');
const results = [];
try {
  const wanted = (/** @type {string} */ name) => flags.only === undefined || flags.only === name;
  if (!existsSync(join(checkpoint, 'model.safetensors.index.json'))) {
    console.log(`writing ${checkpoint} (2.5 GB)`);
    await writeLargeCheckpoint(checkpoint, { num_hidden_layers: nLayers });
  }
  writeFileSync(ids, randomIds(40000, CONFIG.vocab_size));
  const minutes = (/** @type {string | undefined} */ text) => (text === undefined ? undefined : 60 * Number(text));
  const suffix = nLayers === CONFIG.num_hidden_layers ? '' : `, ${nLayers} layers`;
  for (const [name, args] of /** @type {[string, string[]][]} */ ([
    ['plain', ['--recipe', 'plain']],
    ['paper', ['--recipe', 'paper', '--bits', '3.64', '--calibration', ids, '--calibration-tokens', '2048']],
    ['best', ['--bits', '3.2', '--calibration', ids, '--calibration-tokens', flags['calibration-tokens']]],
  ])) {
    if (!wanted(name)) continue;
    const out = join(folder, `${name}.tansy`);
    const of = name === 'best' && flags['calibration-tokens'] !== '32768' ? `, ${flags['calibration-tokens']} tokens of calibration` : '';
    const limits = name === 'best' ? { segment: minutes(flags.segment), total: minutes(flags.minutes) } : {};
    const result = await measure(`${name}${suffix}${of}`, [checkpoint, '-o', out, ...args], limits);
    results.push(result);
    if (result.file_bytes === undefined) continue;
    assert.equal(statSync(out).size, result.file_bytes);
    if (name !== 'plain') assert.ok(Math.abs(result.bits_per_weight / (name === 'paper' ? 3.64 : 3.2) - 1) < 0.01);
    rmSync(out);
  }
  if (flags.record) {
    const path = join(root, 'tests/bench/results/large.json');
    const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).results : [];
    const kept = before.filter((/** @type {any} */ old) => !results.some((one) => one.recipe === old.recipe));
    writeFileSync(path, `${JSON.stringify({ command: 'npm run bench:large', model: 'Llama-3.2-1B geometry, random weights, BF16 in 3 shards', results: [...kept, ...results] }, null, 2)}\n`);
  }
} finally {
  if (!flags.keep) rmSync(folder, { recursive: true, force: true });
}
