// dist/: the wasm modules that the engine, the CLI and the package use, and the browser's files, each built when the sources it
// comes from have changed.
//
// Two toolchains give them: `system`, clang and wasi-libc of the machine through the CMake presets (a few seconds), and `pinned`
// (pinned_toolchain.mjs; no root, the same bytes everywhere; what the published package is built with). `auto` takes the
// system's where it is complete.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { buildPinned } from './pinned_toolchain.mjs';
import { readText, root, runQuiet, say, SetupError, which, writeAtomic } from './tools.mjs';

/** Module -> the CMake preset that makes it (with WASI: the tests build those anyway). */
const distModules = new Map([
  ['tansy-simd128', 'wasi'],
  ['tansy-relaxed', 'wasi-relaxed'],
  ['tansy-simd128-threads', 'wasm-threads'],
  ['tansy-relaxed-threads', 'wasm-relaxed-threads'],
  ['tansy-pack', 'wasi'],
]);
const distDir = join(root, 'dist');
const stampPath = join(root, 'build', 'dist.json');
const webStampPath = join(root, 'build', 'dist-web.json');

/** Text that changes when a file below `dirs` or one of `files` changes. @param {string[]} dirs @param {string[]} files */
function fingerprint(dirs, files) {
  const hash = createHash('sha256');
  const walk = (/** @type {string} */ dir) => {
    for (const entry of readdirSync(join(root, dir), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${dir}/${entry.name}`;
      if (entry.name === 'node_modules') continue;
      if (entry.isDirectory()) walk(path);
      else if (!entry.name.endsWith('.md')) hash.update(path).update('\0').update(readFileSync(join(root, path))).update('\0');
    }
  };
  dirs.forEach(walk);
  for (const file of files) hash.update(file).update('\0').update(readFileSync(join(root, file))).update('\0');
  return hash.digest('hex');
}

function modulesAreThere() {
  return [...distModules.keys()].every((name) => existsSync(join(distDir, `${name}.wasm`)));
}

export function distIsComplete() {
  return modulesAreThere() && existsSync(join(distDir, 'tansy.esm.js'));
}

/** True when this machine can build wasm through CMake. */
export function hasSystemToolchain() {
  const common = which('cmake') && which('ninja');
  const debian = which('clang-19') && which('wasm-ld-19') && which('llvm-ar-19') && existsSync('/usr/include/wasm32-wasi') &&
    existsSync('/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a');
  return Boolean(common && (process.env.WASI_SDK_PATH || debian));
}

/** @param {string} path */
const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Configures (when the presets have changed) and builds a CMake preset. @param {string} preset @param {string[]} [targets] */
export function buildPreset(preset, targets = []) {
  const dir = join(root, 'build', preset);
  if (modified(join(dir, 'build.ninja')) < modified(join(root, 'CMakePresets.json'))) runQuiet(`configuring ${preset}`, 'cmake', ['--preset', preset]);
  const only = targets.length ? ['--target', ...targets] : [];
  runQuiet(`building ${preset}`, 'cmake', ['--build', '--preset', preset, '-j', String(availableParallelism()), ...only]);
  return dir;
}

/** Everything in dist/; npm packages must be installed. @param {{ toolchain?: 'auto' | 'system' | 'pinned' }} [options] */
export async function ensureDist(options) {
  await ensureModules(options);
  await ensureWeb();
}

async function ensureWeb() {
  const stamp = fingerprint(['js', 'web'], ['package.json', 'package-lock.json', 'scripts/build-web.mjs']);
  if (readText(webStampPath) === stamp && distIsComplete()) return;
  const { buildWeb } = await import('../build-web.mjs');
  await buildWeb();
  writeAtomic(webStampPath, stamp);
}

/** @param {{ toolchain?: 'auto' | 'system' | 'pinned' }} [options] */
async function ensureModules({ toolchain = 'auto' } = {}) {
  if (toolchain === 'system' && !hasSystemToolchain())
    throw new SetupError('the system toolchain is incomplete: run `npm run setup`, or use --toolchain=pinned');
  const used = toolchain === 'auto' ? (hasSystemToolchain() ? 'system' : 'pinned') : toolchain;
  const stamp = JSON.stringify({ toolchain: used, sources: fingerprint(['src', 'wasm'], ['CMakeLists.txt', 'CMakePresets.json']) });
  if (readText(stampPath) === stamp && modulesAreThere()) return;

  if (used === 'pinned') {
    for (const [name, bytes] of await buildPinned([...distModules.keys()])) writeAtomic(join(distDir, `${name}.wasm`), bytes);
  } else {
    say('building the wasm modules ...');
    for (const [name, preset] of distModules) {
      const dir = buildPreset(preset, [name === 'tansy-pack' ? 'tansy-pack' : 'tansy_module']);
      writeAtomic(join(distDir, `${name}.wasm`), readFileSync(join(dir, `${name}.wasm`)));
    }
  }
  writeAtomic(stampPath, stamp);
}
