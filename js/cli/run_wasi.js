/** run_wasi.js: runs a WASI command under Node: run_wasi.js FILE.wasm ARGS… with this machine's folders as they are. */
import { readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

/** Each folder of the root is opened for itself: Node's WASI finds nothing below an opened `/`. */
function folders() {
  /** @type {Record<string, string>} */
  const preopens = { '.': process.cwd() };
  for (const name of readdirSync('/')) {
    try {
      if (statSync(`/${name}`).isDirectory()) preopens[`/${name}`] = `/${name}`;
    } catch {
      /* not ours to read, so not needed either */
    }
  }
  return preopens;
}

const [file, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: ['tansy-pack', ...args], preopens: folders(), returnOnExit: true });
const { instance } = await WebAssembly.instantiate(await readFile(file), /** @type {WebAssembly.Imports} */ (wasi.getImportObject()));
process.exitCode = wasi.start(instance);
