// npm run coverage [-- --missing FILE]: lines of src/ that the native C tests and the fuzzers' corpora run, by file and in total.
// Fails below MIN_PERCENT. --missing prints the lines of a file that nothing runs. Needs clang and its llvm-cov (Debian: llvm-19).
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPreset } from './lib/dist.mjs';
import { root, run, runMain, runQuiet, say, SetupError, which } from './lib/tools.mjs';

const MIN_PERCENT = 90;

/** @param {string} name */
function tool(name) {
  const found = [`${name}-19`, name].find(which);
  if (!found) throw new SetupError(`${name} is missing: install LLVM (Debian: llvm-19)`);
  return found;
}

await runMain(async () => {
  const { values } = parseArgs({ options: { missing: { type: 'string' } } });
  const dir = buildPreset('coverage');
  const profiles = join(dir, 'profiles');
  const merged = join(dir, 'all.profdata');
  const programs = readdirSync(join(dir, 'tests')).filter((name) => /^(test|check|fuzz)_[a-z0-9_]+$/.test(name)).map((name) => join(dir, 'tests', name));
  programs.push(join(dir, 'tansy-pack')); // for its own files: what no test links counts as not run
  if (!values.missing || !existsSync(merged)) {
    rmSync(profiles, { recursive: true, force: true });
    mkdirSync(profiles, { recursive: true });
    process.env.LLVM_PROFILE_FILE = join(profiles, '%p.profraw');
    if (run('ctest', ['--preset', 'coverage', '-j', String(availableParallelism()), '--no-tests=error', '--progress']) !== 0) throw new SetupError('tests fail');
    const raw = readdirSync(profiles).map((name) => join(profiles, name));
    runQuiet('merging profiles', tool('llvm-profdata'), ['merge', '-sparse', '-o', merged, ...raw]);
  }
  const [first, ...others] = programs;
  const objects = [first, ...others.flatMap((path) => ['-object', path])];
  if (values.missing) {
    const text = runQuiet('llvm-cov', tool('llvm-cov'), ['show', `-instr-profile=${merged}`, ...objects, join(root, values.missing)]);
    console.log(text.split('\n').filter((line) => /^\s*\d+\|\s*0\|/.test(line)).join('\n'));
    return 0;
  }
  const json = runQuiet('llvm-cov', tool('llvm-cov'), ['export', '-summary-only', `-instr-profile=${merged}`, ...objects]);
  /** @type {{filename: string, summary: {lines: {count: number, covered: number}}}[]} */
  const files = JSON.parse(json).data[0].files.filter((/** @type {any} */ { filename }) => filename.startsWith(join(root, 'src/')));
  const rows = files.map(({ filename, summary: { lines } }) => ({ name: filename.slice(root.length), count: lines.count, covered: lines.covered }));
  rows.sort((a, b) => (a.name < b.name ? -1 : 1));
  const percent = (/** @type {{count: number, covered: number}} */ { count, covered }) => (count === 0 ? 100 : (100 * covered) / count);
  for (const row of rows) console.log(`${percent(row).toFixed(1).padStart(6)} %  ${String(row.covered).padStart(5)} of ${String(row.count).padStart(5)}  ${row.name}`);
  const total = rows.reduce((sum, row) => ({ count: sum.count + row.count, covered: sum.covered + row.covered }), { count: 0, covered: 0 });
  console.log(`${percent(total).toFixed(1).padStart(6)} %  ${String(total.covered).padStart(5)} of ${String(total.count).padStart(5)}  lines of src/ in total`);
  if (percent(total) >= MIN_PERCENT) return 0;
  say(`below ${MIN_PERCENT} %`);
  return 1;
});
