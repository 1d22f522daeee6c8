// Runs a WASI command under Node: node run_wasi.mjs FILE.wasm [ARGS...]. The file system is mapped as it is, and the
// current directory is the command's. CTest uses it to run the C tests inside wasm.
import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { WASI } from 'node:wasi';

const [file, ...args] = process.argv.slice(2);
if (!file) {
  console.error('usage: node run_wasi.mjs FILE.wasm [ARGS...]');
  process.exit(2);
}
const bytes = await readFile(file);
// Node 20 has relaxed SIMD behind a flag, and its baseline compiler gets i32x4.relaxed_dot_i8x16_i7x16_add_s wrong; the
// optimizing one is right.
if (!WebAssembly.validate(bytes)) {
  setFlagsFromString('--experimental-wasm-relaxed-simd');
  setFlagsFromString('--no-liftoff');
}
const wasi = new WASI({
  version: 'preview1',
  args: [file, ...args],
  env: process.env,
  preopens: { '/': '/', '.': process.cwd() },
  returnOnExit: true,
});
// Through JavaScript functions: called straight from wasm, Node 20's now and then spoil its heap
const imports = Object.entries(wasi.getImportObject().wasi_snapshot_preview1).map(([name, call]) => [name, (...values) => call(...values)]);
const { instance } = await WebAssembly.instantiate(bytes, { wasi_snapshot_preview1: Object.fromEntries(imports) });
process.exitCode = wasi.start(instance);
