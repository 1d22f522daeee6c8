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
/* Through JavaScript functions: called straight from wasm, Node 20's now and then spoil its heap, and a collection ends the process
 * (SIGTRAP, "unreachable code"), in the middle of the work or after it */
const calls = /** @type {Record<string, (...values: unknown[]) => unknown>} */ (/** @type {any} */ (wasi.getImportObject()).wasi_snapshot_preview1);
const imports = Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, (/** @type {unknown[]} */ ...values) => call(...values)]));
const { instance } = await WebAssembly.instantiate(await readFile(file), /** @type {WebAssembly.Imports} */ ({ wasi_snapshot_preview1: imports }));
process.exitCode = wasi.start(instance);
