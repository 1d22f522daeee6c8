// npm run bench:codecs: the ANS coder beside zstd, LZ4, DEFLATE and Huffman codes alone (the libraries themselves, from Debian) on the
// same integers: those of books-3m compressed by three recipes, and GPT-2's attention matrices. Rows go to tests/bench/results/codecs.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureSystemPackages } from '../../scripts/lib/system_packages.mjs';
import { root, runMain } from '../../scripts/lib/tools.mjs';

const models = join(root, '../shared/models');

/** @param {string} program @param {string[]} args */
function run(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error ?? stderr}${stdout}`);
  return stdout;
}

await runMain(async () => {
  if (!existsSync(models)) return console.log(`SKIPPED: ${models} is not on this machine`);
  ensureSystemPackages([
    ['libzstd-dev', () => existsSync('/usr/include/zstd.h')],
    ['liblz4-dev', () => existsSync('/usr/include/lz4.h')],
    ['zlib1g-dev', () => existsSync('/usr/include/zlib.h')],
    ['libdeflate-dev', () => existsSync('/usr/include/libdeflate.h')],
  ]);
  run('cmake', ['--preset', 'native', '-DTANSY_BENCH_CODECS=ON']);
  run('cmake', ['--build', '--preset', 'native', '--target', 'codecs-bench', 'tansy-pack']);
  const bench = join(root, 'build/native/tests/codecs-bench');
  const folder = mkdtempSync(join(tmpdir(), 'tansy-codecs-'));
  const rows = [];
  try {
    const gpt2 = join(models, 'gpt2-attention-layers-0-5.safetensors');
    for (const [name, args] of /** @type {[string, string[]][]} */ ([
      ['books-3m, INT8', ['--recipe', 'plain']],
      ['books-3m, paper 3.64 b/w', ['--recipe', 'paper', '--bits', '3.64']],
      ['books-3m, best 3.2 b/w', ['--recipe', 'best', '--bits', '3.2']],
      ['GPT-2 attention, INT8', [gpt2, '1']],
      ['GPT-2 attention, 12 times coarser', [gpt2, '12']],
    ])) {
      let file = [args[0], args[1]];
      if (args[0] === '--recipe') {
        file = [join(folder, 'model.tansy')];
        run(process.execPath, ['js/cli/main.js', 'compress', join(models, 'books-3m'), '-o', file[0], ...args]);
      }
      for (const line of run(bench, [name, ...file]).trim().split('\n')) rows.push(JSON.parse(line));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log('one thread; Mw/s: million weights a second; ratio: over one byte a weight\n');
  console.log('integers                           codec               b/w    ratio  encode Mw/s  decode Mw/s');
  for (const r of rows)
    console.log(`${r.integers.padEnd(34)} ${r.codec.padEnd(18)} ${r.bits_per_weight.toFixed(3).padStart(6)} ${r.ratio.toFixed(3).padStart(6)} ${r.encode_Mw_s.toFixed(1).padStart(12)} ${r.decode_Mw_s.toFixed(0).padStart(12)}`);
  writeFileSync(join(root, 'tests/bench/results/codecs.json'), `[\n${rows.map((r) => JSON.stringify(r)).join(',\n')}\n]\n`);
});
