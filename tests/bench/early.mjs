// npm run bench:early: how long after the download's end the first token comes, when a prompt begins while its layers arrive.
//
//   node tests/bench/early.mjs [--rate 6e6] [--prompt 128]
//
// SmolLM2-135M's geometry in ANS form from a server of so many bytes a second. The row in tests/bench/results/early.json compares the time to the
// first token with that of the download and of the prompt's last layer and head, which cannot begin before.

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { runPack } from '../../js/cli/pack.js';
import { load } from '../../js/index.js';
import { root, startServer } from '../browser/lib/server.mjs';

const { values } = parseArgs({ options: { rate: { type: 'string', default: '6e6' }, prompt: { type: 'string', default: '128' } } });
const nPrompt = Number(values.prompt);
const folder = join(root, 'build/bench-models');
await mkdir(folder, { recursive: true });
const path = join(folder, 'smollm2-135m-3.2.tansy');
if (!existsSync(path)) await runPack(['synth', '--preset', 'smollm2-135m', '--bits', '3.2', '-o', path, '--progress', 'json']);

const round = (/** @type {number} */ x) => Number(x.toPrecision(4));
const ids = Array.from({ length: nPrompt }, (_, i) => (i * 7919 + 1) % 49152);
const options = /** @type {const} */ ({ temperature: 0, maxTokens: 1, ignoreEos: true });

/* what is compiled and in caches by then, and the time of the prompt alone */
const warm = await load(path, { contextSize: 512 });
let prefill = Infinity;
for (let i = 0; i < 3; i++) {
  warm.reset();
  await warm.generate(ids, options).text();
  prefill = Math.min(prefill, nPrompt / warm.stats().prefillTokS);
}
const nLayers = warm.config.layers;
const { hidden, vocab, intermediate, heads, kvHeads, headDim } = warm.config;
warm.dispose();
const layerWeights = hidden * headDim * 2 * (heads + kvHeads) + 3 * hidden * intermediate;
/* the head runs for one token only */
const lastLayer = (prefill * (layerWeights * (nPrompt / 32) + hidden * vocab)) / ((nLayers * layerWeights * nPrompt) / 32 + hidden * vocab);

const server = await startServer({ bytesPerSecond: Number(values.rate) });
const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
const model = await load(`${server.url}${path.slice(root.length - 1)}`, { contextSize: 512, early: true });
let download = 0;
const loaded = model.loaded.then(() => (download = seconds()));
await model.generate(ids, options).text();
const firstToken = seconds();
await loaded;
const row = {
  model: 'smollm2-135m', form: 'ans 3.2', host: `node ${process.version}`, threads: model.stats().threads, bytes_per_second: Number(values.rate), prompt_tokens: nPrompt,
  download_s: round(download), first_token_s: round(firstToken), prefill_s: round(prefill), last_layer_and_head_s: round(lastLayer),
  over_download: round((firstToken - lastLayer) / download),
};
model.dispose();
await server.close();
await writeFile(join(root, 'tests/bench/results/early.json'), `${JSON.stringify([row], null, 1)}\n`);
console.log(row);
process.exit(); /* threads of models that were disposed of may still be ending */
