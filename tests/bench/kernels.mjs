// npm run bench:kernels [-- --sigma S --batch B --form F --rounds N ...]: products with coded, packed and int8 weights, plain
// and relaxed SIMD, next to int8 and to the arithmetic limit in the same run. Prints a table; rows go to
// tests/bench/results/kernels.json. Options are those of kernels_bench.c.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tellUsage } from './lib/options.mjs';

tellUsage(import.meta.url);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** @param {string[]} command */
function run([program, ...args]) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) {
    console.error(`${program} ${args.join(' ')}: ${error ?? stderr}${stdout}`);
    process.exit(1);
  }
  return stdout;
}

run(['cmake', '--preset', 'wasi-relaxed']);
run(['cmake', '--build', '--preset', 'wasi-relaxed', '--target', 'kernels-bench']);
const module = join(root, 'build/wasi-relaxed/tests/kernels-bench.wasm');
/* a Node that knows relaxed SIMD: this one, or the one the tests install */
const installed = join(root, 'tests/current-node/node_modules/.bin/node');
const node = WebAssembly.validate(readFileSync(module)) || !existsSync(installed) ? process.execPath : installed;
const lines = run([node, '--no-warnings', join(root, 'scripts/run_wasi.mjs'), module, ...process.argv.slice(2)]).trim().split('\n');
const rows = lines.map((line) => JSON.parse(line));

console.log(`node ${run([node, '--version']).trim()}, CPU time, the fastest tenth of many short rounds; Gw/s = 10^9 weights a second for the whole batch\n`);
console.log('module   sigma form    batch    Gw/s  of int8  of limit  bits/weight  loss');
for (const r of rows) {
  const limit = rows.find((l) => l.form === 'limit' && l.module === r.module && l.sigma === r.sigma && l.batch === r.batch);
  const loss = r.form === 'ans' ? `${(100 * (r.bits_per_weight / r.entropy_bits - 1)).toFixed(2)} %` : '';
  console.log(
    `${r.module.padEnd(8)} ${String(r.sigma).padEnd(5)} ${r.form.padEnd(7)} ${String(r.batch).padStart(5)} ${r.gweights_per_s.toFixed(3).padStart(7)} ` +
      `${r.ratio_int8.toFixed(3).padStart(8)} ${limit ? (r.gweights_per_s / limit.gweights_per_s).toFixed(3).padStart(9) : ''.padStart(9)} ` +
      `${(r.bits_per_weight || 0).toFixed(3).padStart(12)}  ${loss}`,
  );
}
const results = join(root, 'tests/bench/results');
mkdirSync(results, { recursive: true });
writeFileSync(join(results, 'kernels.json'), `[\n${rows.map((r) => JSON.stringify(r)).join(',\n')}\n]\n`);
