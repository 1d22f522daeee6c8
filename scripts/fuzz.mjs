// npm run fuzz [-- --minutes N | --seconds N] [--target NAME]... [--jobs N] [--record FILE] [--merge]
//
// Builds the fuzz targets (libFuzzer, address and undefined-behaviour sanitizers) and runs each for its share of the time, from the
// committed seeds and from what earlier runs on this machine found (build/fuzz/corpus). Prints executions per target. An input
// that breaks a target is left in build/fuzz/found, and the run fails; when it is mended, commit the input as a seed.
//
//   --minutes N, --seconds N   of the whole run, by the clock; 1 minute
//   --jobs N                   targets at a time; 1
//   --record FILE              writes the figures there as JSON, after each round
//   --merge   instead: adds to tests/fuzz/seeds the inputs of the local corpus that reach code the seeds do not
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPreset } from './lib/dist.mjs';
import { root, runMain, say, SetupError, which } from './lib/tools.mjs';

/** Share of the time, and the longest input tried: short ones are run more often. A target of node's is a program of its own. */
const TARGETS = new Map([
  ['container', { share: 3, maxNbytes: 1024 }],
  ['json', { share: 3, maxNbytes: 1024 }],
  ['safetensors', { share: 3, maxNbytes: 1024 }],
  ['blocks', { share: 1, maxNbytes: 600 }],
  ['tile', { share: 5, maxNbytes: 2048 }],
  ['codec', { share: 1, maxNbytes: 600 }],
  ['abi', { share: 4, maxNbytes: 512 }],
  ['alloc', { share: 1, maxNbytes: 512 }],
  ['engine', { share: 4, maxNbytes: 8192 }],
  ['gguf', { share: 1, maxNbytes: 4096, script: 'tests/fuzz/fuzz_gguf.mjs' }],
]);

const ROUND_SECONDS = 300;
/** A line on what is under way, so often. */
const PROGRESS_SECONDS = 30;

const seedsOf = (/** @type {string} */ name) => join(root, 'tests/fuzz/seeds', `fuzz_${name}`);
const corpusOf = (/** @type {string} */ name) => join(root, 'build/fuzz/corpus', name);
const programOf = (/** @type {string} */ name) => join(root, 'build/fuzz/tests', `fuzz_${name}`);
const foundDir = join(root, 'build/fuzz/found');

/** Executions of the targets that run now, as libFuzzer tells them from time to time. @type {Map<string, number>} */
const underWay = new Map();

/** @param {string} program @param {string[]} args @param {(text: string) => void} [onText] @returns {Promise<{status: number, text: string}>} */
function runToEnd(program, args, onText = () => {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    /* the end of what it printed says all that matters */
    const take = (/** @type {Buffer} */ piece) => {
      text = (text + piece).slice(-20000);
      onText(text.slice(-2000));
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status: status ?? 128, text: signal ? `${text}\nended by ${signal}` : text }));
  });
}

/** @param {string} name @param {number} seconds */
async function fuzz(name, seconds) {
  const { maxNbytes, script } = /** @type {{share: number, maxNbytes: number, script?: string}} */ (TARGETS.get(name));
  mkdirSync(corpusOf(name), { recursive: true });
  const started = performance.now();
  const [program, args] = script
    ? [process.execPath, [join(root, script), '--seconds', String(seconds), '--found', foundDir, seedsOf(name)]]
    : [
        programOf(name),
        [
          `-max_total_time=${Math.ceil(seconds)}`,
          `-max_len=${maxNbytes}`,
          '-timeout=20',
          '-rss_limit_mb=3000',
          `-artifact_prefix=${foundDir}/${name}-`,
          '-print_final_stats=1',
          corpusOf(name),
          seedsOf(name),
        ],
      ];
  underWay.set(name, 0);
  const { status, text } = await runToEnd(program, args, (latest) => underWay.set(name, Number([...latest.matchAll(/^#(\d+)\t/gm)].pop()?.[1] ?? underWay.get(name))));
  underWay.delete(name);
  const executions = Number(/number_of_executed_units: (\d+)/.exec(text)?.[1] ?? 0);
  const took = (performance.now() - started) / 1000;
  const ok = status === 0 && executions > 0;
  say(`${name.padEnd(12)} ${String(executions).padStart(10)} executions ${took.toFixed(0).padStart(5)} s  ${ok ? 'sound' : 'BROKEN'}`);
  if (!ok) say(text.split('\n').slice(-60).join('\n'));
  return { name, executions, seconds: Math.round(took), ok };
}

/** @param {string[]} names */
async function merge(names) {
  for (const name of names) {
    if (!existsSync(programOf(name)) || !existsSync(corpusOf(name))) continue;
    const all = mkdtempSync(join(tmpdir(), 'tansy-merge-'));
    try {
      /* the seeds first: what they reach needs no other input */
      for (const file of readdirSync(seedsOf(name))) copyFileSync(join(seedsOf(name), file), join(all, file));
      const before = readdirSync(all).length;
      const { status, text } = await runToEnd(programOf(name), ['-merge=1', `-max_len=${TARGETS.get(name)?.maxNbytes}`, '-timeout=20', all, corpusOf(name)]);
      if (status !== 0) throw new SetupError(text);
      let nbytes = 0;
      for (const file of readdirSync(all)) {
        nbytes += statSync(join(all, file)).size;
        copyFileSync(join(all, file), join(seedsOf(name), file.length === 40 ? file.slice(0, 12) : file));
      }
      say(`${name}: ${before} seeds, now ${readdirSync(all).length}, ${nbytes} bytes`);
    } finally {
      rmSync(all, { recursive: true, force: true });
    }
  }
}

const shareOf = (/** @type {string} */ name) => TARGETS.get(name)?.share ?? 1;

/** Shares that the busiest of `jobs` workers gets when each takes the next of `names`, which have the largest first. @param {string[]} names @param {number} jobs */
function longestQueue(names, jobs) {
  const load = new Array(jobs).fill(0);
  for (const name of names) load[load.indexOf(Math.min(...load))] += shareOf(name);
  return Math.max(...load);
}

/**
 * @param {Map<string, {executions: number, seconds: number, ok: boolean}>} results
 * @param {number} executions
 * @param {string[]} broken
 */
function recordOf(results, executions, broken) {
  return {
    what: 'npm run fuzz: executions of every fuzz target under address and undefined-behaviour sanitizers',
    cpu: cpus()[0]?.model,
    seconds: [...results.values()].reduce((sum, { seconds }) => sum + seconds, 0),
    executions,
    broken,
    targets: Object.fromEntries([...results].map(([name, { executions: n, seconds }]) => [name, { executions: n, seconds }])),
  };
}

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      target: { type: 'string', multiple: true },
      jobs: { type: 'string', default: '1' },
      record: { type: 'string' },
      merge: { type: 'boolean', default: false },
    },
  });
  const names = values.target ?? [...TARGETS.keys()];
  for (const name of names) if (!TARGETS.has(name)) throw new SetupError(`--target ${name}: not one of ${[...TARGETS.keys()].join(', ')}`);
  const seconds = values.seconds !== undefined ? Number(values.seconds) : Number(values.minutes ?? 1) * 60;
  const jobs = Number(values.jobs);
  if (!(seconds > 0) || !(jobs >= 1)) throw new SetupError('--minutes, --seconds and --jobs take numbers above 0');
  if (!process.env.CC && !which('clang-19') && !which('clang')) throw new SetupError('fuzzing needs clang: run `npm run setup`');

  buildPreset('fuzz', names.filter((name) => !TARGETS.get(name)?.script).map((name) => `fuzz_${name}`));
  if (values.merge) return void (await merge(names));

  mkdirSync(foundDir, { recursive: true });
  /** @type {Map<string, {executions: number, seconds: number, ok: boolean}>} */
  const results = new Map(names.map((name) => [name, { executions: 0, seconds: 0, ok: true }]));
  const total = () => [...results.values()].reduce((sum, { executions }) => sum + executions, 0);
  const brokenOnes = () => names.filter((name) => !results.get(name)?.ok);
  const started = performance.now();
  const progress = setInterval(() => {
    const left = Math.max(0, seconds - (performance.now() - started) / 1000);
    const now = [...underWay].map(([name, n]) => `${name} ${n}`).join(', ');
    say(`${Math.floor(left / 60)}:${String(Math.floor(left % 60)).padStart(2, '0')} left, ${total() + [...underWay.values()].reduce((sum, n) => sum + n, 0)} executions (now: ${now})`);
  }, PROGRESS_SECONDS * 1000).unref();

  /* in rounds, so that a run that is stopped has seen every target; a broken one is left out of the next */
  const nRounds = Math.ceil(seconds / ROUND_SECONDS);
  for (let round = 0; round < nRounds; round++) {
    const left = names.filter((name) => results.get(name)?.ok).sort((a, b) => shareOf(b) - shareOf(a));
    const perShare = (seconds * (round + 1) / nRounds - (performance.now() - started) / 1000) / longestQueue(left, jobs);
    const worker = async () => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        const result = /** @type {{executions: number, seconds: number, ok: boolean}} */ (results.get(name));
        const { executions, seconds: took, ok } = await fuzz(name, Math.max(1, perShare * shareOf(name)));
        results.set(name, { executions: result.executions + executions, seconds: result.seconds + took, ok });
      }
    };
    await Promise.all(Array.from({ length: jobs }, worker));
    if (values.record) writeFileSync(values.record, `${JSON.stringify(recordOf(results, total(), brokenOnes()), null, 2)}\n`);
  }
  clearInterval(progress);

  const broken = brokenOnes();
  say(`${total()} executions over ${names.length} targets, ${broken.length === 0 ? 'no crash, no sanitizer report' : `BROKEN: ${broken.join(', ')}; inputs in build/fuzz/found`}`);
  return broken.length === 0 ? 0 : 1;
});
