// load_malformed.js MODULE THREADS: prints the code that each file of tests/malformed gives with this module, as JSON.
import { readFileSync } from 'node:fs';
import { load } from '../../../js/index.js';

const [wasmPath, threads] = process.argv.slice(2);
const folder = new URL('../../malformed/', import.meta.url);
const module = await WebAssembly.compile(readFileSync(wasmPath));
const names = readFileSync(new URL('table.txt', folder), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(' ')[0]);

/** @type {Record<string, string>} */
const codes = {};
for (const name of names) {
  try {
    const model = await load(readFileSync(new URL(`${name}.tansy`, folder)), { wasmUrl: module, threads: Number(threads) });
    codes[name] = 'TANSY_OK';
    /* what loads runs */
    const run = model.generate([1, 2, 3], { maxTokens: 4, temperature: 0, ignoreEos: true });
    for await (const text of run) codes[name] = `text without a tokenizer: ${text}`;
    if (run.ids.length !== 4) codes[name] = `${run.ids.length} tokens`;
    model.dispose();
  } catch (error) {
    /* anything but a TansyError, a trap above all, is shown as it is */
    codes[name] = /** @type {any} */ (error).code ?? String(error);
  }
}
console.log(JSON.stringify(codes));
