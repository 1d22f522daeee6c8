// npm test: installs what is missing, builds everything and runs every test: the C tests natively, under sanitizers and inside
// wasm (CTest), the fuzzers for a minute, then the JavaScript and browser tests (node --test). Fails if any of them fails.
//
//   npm test -- --quick     native C tests and JavaScript tests only
//   npm test -- FILE...     these JavaScript test files only
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPreset, ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { ensureSystemPackages } from './lib/system_packages.mjs';
import { root, run, runMain, say } from './lib/tools.mjs';

const FUZZ_SECONDS = 60;
const started = Date.now();
const seconds = () => `${((Date.now() - started) / 1000).toFixed(0)} s`;

/** @param {string} preset */
function runCTest(preset) {
  say(`C tests, ${preset} (${seconds()})`);
  return run('ctest', ['--preset', preset, '-j', String(availableParallelism()), '--no-tests=error', '--progress']) === 0;
}

function testFiles() {
  return ['js', 'browser', 'package'].flatMap((name) => {
    const dir = join(root, 'tests', name);
    const files = existsSync(dir) ? readdirSync(dir) : [];
    return files.filter((file) => /\.test\.m?js$/.test(file)).sort().map((file) => join('tests', name, file));
  });
}

await runMain(async () => {
  const { values, positionals } = parseArgs({ options: { quick: { type: 'boolean', default: false } }, allowPositionals: true });
  ensureSystemPackages();
  ensureNodeModules();
  ensureNodeModules(join(root, 'tests', 'current-node'));

  say(`building (${seconds()})`);
  await ensureDist({ toolchain: 'system' });
  buildPreset('native');
  buildPreset('emscripten');

  const failed = [];
  if (!positionals.length) {
    for (const preset of values.quick ? ['native'] : ['native', 'asan', 'wasi', 'wasi-relaxed']) {
      buildPreset(preset);
      if (!runCTest(preset)) failed.push(`C tests (${preset})`);
    }
  }

  if (!positionals.length && !values.quick) {
    say(`fuzzers (${seconds()})`);
    const jobs = availableParallelism();
    if (run(process.execPath, [join(root, 'scripts', 'fuzz.mjs'), '--seconds', String(FUZZ_SECONDS), '--jobs', String(jobs)]) !== 0) failed.push('fuzzers');
  }

  const files = positionals.length ? positionals : testFiles();
  say(`JavaScript tests (${seconds()})`);
  // A file that hangs fails after a quarter of an hour: the others are still heard.
  const args = ['--test', '--test-timeout=900000', '--test-reporter=spec', `--test-concurrency=${availableParallelism()}`, ...files];
  if (run(process.execPath, args, { stdout: 'inherit' }) !== 0) failed.push('JavaScript tests');

  // when all is well, the test runner's own summary is the last word
  if (failed.length) say(`\nFAILED: ${failed.join(', ')} (${seconds()})`);
  return failed.length ? 1 : 0;
});
