// What the native build and the tests need from the system, by Debian package. Only what is missing is installed, as root or
// through sudo; otherwise the message says what to install.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { runQuiet, say, SetupError, which } from './tools.mjs';

const clangLib = '/usr/lib/llvm-19/lib/clang/19/lib';
/** @type {[debianPackage: string, isThere: () => unknown][]} */
const needs = [
  ['cmake', () => which('cmake')],
  ['ninja-build', () => which('ninja')],
  ['libc6-dev', () => existsSync('/usr/include/stdlib.h')],
  ['clang-19', () => which('clang-19')],
  ['llvm-19', () => which('llvm-ar-19')],
  ['lld-19', () => which('wasm-ld-19')],
  ['libclang-rt-19-dev', () => existsSync(`${clangLib}/linux`)],
  ['libclang-rt-19-dev-wasm32', () => existsSync(`${clangLib}/wasi/libclang_rt.builtins-wasm32.a`)],
  ['wasi-libc', () => existsSync('/usr/include/wasm32-wasi')],
  ['libsimde-dev', () => existsSync('/usr/include/simde/wasm/simd128.h')],
  ['emscripten', () => which('emcc')],
  ['chromium', () => which('chromium') || process.env.CHROMIUM_PATH],
];

/** @param {typeof needs} more what only one command needs */
export function ensureSystemPackages(more = []) {
  const all = [...needs, ...more];
  const missing = all.filter(([, isThere]) => !isThere()).map(([name]) => name);
  if (!missing.length) return;
  const install = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  const isRoot = process.getuid?.() === 0;
  if (!which('apt-get') || (!isRoot && !which('sudo')))
    throw new SetupError(`These packages are missing (names as in Debian 12):\n  ${missing.join(' ')}\nInstall them as root, then try again:\n  ${install}`);

  say(`installing ${missing.join(' ')} ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const asRoot = (/** @type {string[]} */ ...command) => {
    if (!isRoot) command.unshift('sudo', '--preserve-env=DEBIAN_FRONTEND');
    return runQuiet('installing packages', command[0], command.slice(1), { env });
  };
  const apt = (/** @type {string[]} */ ...args) => asRoot('apt-get', '-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'Acquire::Retries=3', ...args);
  if (missing.includes('emscripten')) keepOurNode(asRoot);
  // the package lists of a fresh machine may be empty or old
  apt('update');
  apt('install', '-y', '--no-install-recommends', ...missing);
  const still = all.filter(([, isThere]) => !isThere()).map(([name]) => name);
  if (still.length) throw new SetupError(`Still missing after installation: ${still.join(' ')}`);
}

/**
 * Debian's emscripten brings Debian's Node 18, at /usr/bin/node. Where a Node that no package owns lies there, dpkg would
 * overwrite it: it is told to put its own beside it.
 * @param {(...command: string[]) => string} asRoot
 */
function keepOurNode(asRoot) {
  const node = '/usr/bin/node';
  if (!existsSync(node) || spawnSync('dpkg-query', ['-S', node]).status === 0) return;
  asRoot('dpkg-divert', '--local', '--no-rename', '--divert', `${node}.debian`, '--add', node);
}
