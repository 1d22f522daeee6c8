// npm run bench:coding [-- FILE.tansy …]: bits that the codec takes over the entropy of the integers, on real matrices: GPT-2's attention
// (each rounded with the one step that gives an entropy of 2.5, 3 or 4 bits); and what the bytes of whole files are spent on: of the
// embedded model and of the files named. Rows go to tests/bench/results/coding.json; nothing is timed.
import { existsSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { runPack } from '../../js/cli/pack.js';
import { root, runMain } from '../../scripts/lib/tools.mjs';

const gpt2 = join(root, '../shared/models/gpt2-attention-layers-0-5.safetensors');
const rounded = (/** @type {number} */ x) => Number(x.toPrecision(5));

await runMain(async () => {
  const matrices = [];
  if (!existsSync(gpt2)) console.log(`SKIPPED: ${gpt2} is not on this machine`);
  for (const bits of existsSync(gpt2) ? [2.5, 3, 4] : []) {
    const { tensors } = await runPack(['inspect', gpt2, '--bits', String(bits)]);
    for (const { name, shape, entropy, coded_bits, loss, escapes, n_tables, raw_bits, order_bytes } of tensors)
      matrices.push({ name, shape, entropy_bits: rounded(entropy), bits_per_weight: rounded(coded_bits), loss: rounded(loss), escapes, n_tables, raw_bits, order_bytes });
    const losses = tensors.map((/** @type {any} */ t) => t.loss);
    const mean = losses.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0) / losses.length;
    console.log(`GPT-2's attention at ${bits} bits: ${(100 * mean).toFixed(2)} % over the entropy, the worst matrix ${(100 * Math.max(...losses)).toFixed(2)} %`);
  }
  const files = [];
  for (const path of [join(root, 'demo', EMBEDDED_MODEL), ...process.argv.slice(2)]) {
    const { tensors, parts, file_bytes: nbytes } = await runPack(['inspect', path]);
    const coded = tensors.filter((/** @type {any} */ t) => t.kind === 'CODED');
    const weights = coded.reduce((/** @type {number} */ sum, /** @type {any} */ t) => sum + t.shape[0] * t.shape[1], 0);
    const entropy = coded.reduce((/** @type {number} */ sum, /** @type {any} */ t) => sum + (t.entropy * t.shape[0] * t.shape[1]) / 8, 0);
    files.push({ file: basename(path), bytes: nbytes, weights, entropy_bytes: Math.round(entropy), parts });
    const share = (/** @type {number} */ x) => `${((100 * x) / (nbytes - parts.attachments)).toFixed(2)} %`;
    console.log(`\n${basename(path)}: ${nbytes} bytes; of those without the tokenizer: entropy of the integers ${share(entropy)}`);
    for (const [name, n] of Object.entries(parts)) if (name !== 'attachments') console.log(`  ${name.replaceAll('_', ' ').padEnd(12)} ${String(n).padStart(10)} ${share(/** @type {number} */ (n)).padStart(8)}`);
  }
  writeFileSync(join(root, 'tests/bench/results/coding.json'), `${JSON.stringify({ matrices, files }, null, 1)}\n`);
});
