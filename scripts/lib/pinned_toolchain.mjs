// Builds the wasm modules with the compiler pinned in wasm/toolchain: clang, lld and wasi-libc compiled to wasm. Needs
// neither root nor CMake, runs wherever Node runs and gives the same bytes everywhere. Objects are cached by content.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { ensureNodeModules } from './node_modules.mjs';
import { readExports, readFlags, readSourceLists } from './source_lists.mjs';
import { root, say, SetupError, writeAtomic } from './tools.mjs';

const toolchainDir = join(root, 'wasm', 'toolchain');
const cacheDir = join(root, 'build', 'pinned');
const target = ['--target=wasm32-wasip1', '-std=c11', '-DNDEBUG', '-Isrc'];

/** @typedef {{ source: string, cflags?: string[] }} Source */
/** defines: macro -> flags of the sources that ask for it
 * @typedef {{ name: string, sources: Source[], defines: Record<string, string[]>, ldflags: string[] }} Module */

/** What dist/ holds. @returns {Module[]} */
export function pinnedModules() {
  const flags = readFlags();
  const lists = readSourceLists();
  const browser = [...flags.TANSY_MODULE_LDFLAGS, ...readExports().map((name) => `-Wl,--export=${name}`)];
  const core = lists.core.map((source) => ({ source, cflags: source.endsWith('_ref.c') ? flags.TANSY_REF_CFLAGS : [] }));
  const bridge = { source: 'wasm/bridge.c' };
  const simd128 = { sources: [...core, bridge], defines: { TANSY_HAVE_SIMD128: [] } };
  const relaxed = {
    sources: [...core, ...lists.relaxed.map((source) => ({ source, cflags: flags.TANSY_RELAXED_CFLAGS })), bridge],
    defines: { TANSY_HAVE_SIMD128: [], TANSY_HAVE_RELAXED: [] },
  };
  const threads = { TANSY_HAVE_THREADS: flags.TANSY_THREADS_CFLAGS };
  const threadsLdflags = [...browser, ...flags.TANSY_THREADS_LDFLAGS];
  return [
    { name: 'tansy-simd128', ...simd128, ldflags: browser },
    { name: 'tansy-relaxed', ...relaxed, ldflags: browser },
    { name: 'tansy-simd128-threads', ...simd128, defines: { ...simd128.defines, ...threads }, ldflags: threadsLdflags },
    { name: 'tansy-relaxed-threads', ...relaxed, defines: { ...relaxed.defines, ...threads }, ldflags: threadsLdflags },
    {
      name: 'tansy-pack',
      sources: [...core, ...[...lists.packlib, ...lists.packMain].map((source) => ({ source, cflags: ['-D_POSIX_C_SOURCE=200809L'] }))],
      defines: simd128.defines,
      ldflags: flags.TANSY_WASI_LDFLAGS,
    },
  ];
}

/** Source tree as the compiler takes it. */
function sourceTree() {
  const walk = (/** @type {string} */ dir) => {
    /** @type {Record<string, any>} */
    const tree = {};
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory()) tree[entry.name] = walk(join(dir, entry.name));
      else if (/\.(c|h|inc)$/.test(entry.name)) tree[entry.name] = readFileSync(join(dir, entry.name), 'utf8');
    }
    return tree;
  };
  return { src: walk(join(root, 'src')), wasm: { 'bridge.c': readFileSync(join(root, 'wasm', 'bridge.c'), 'utf8') } };
}

/** A source and all it includes of ours, as one text. @param {string} source */
function textWithIncludes(source) {
  /** @type {Map<string, string>} */
  const texts = new Map();
  const visit = (/** @type {string} */ path) => {
    if (texts.has(path) || !existsSync(join(root, path))) return;
    const text = readFileSync(join(root, path), 'utf8');
    texts.set(path, text);
    for (const [, name] of text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) visit(`src/${name}`);
  };
  visit(source);
  return [...texts].map(([path, text]) => `${path}\0${text}`).join('\0');
}

/** @param {string} path */
const objectName = (path) => path.replaceAll('/', '_').replace(/\.c$/, '.o');

/** Builds the named modules; returns their bytes by name. */
export async function buildPinned(/** @type {string[]} */ names) {
  ensureNodeModules(toolchainDir);
  const lock = readFileSync(join(toolchainDir, 'package-lock.json'), 'utf8');
  const tree = sourceTree();
  const flags = readFlags();
  // here a warning is a warning: this builds releases, and on machines that nobody knows
  const cflags = [...target, ...flags.TANSY_CFLAGS.filter((flag) => flag !== '-Werror'), ...flags.TANSY_WASM_CFLAGS];
  const modules = pinnedModules().filter((module) => names.includes(module.name));
  mkdirSync(cacheDir, { recursive: true });

  /** @type {Map<string, { source: string, args: string[] }>} */
  const jobs = new Map();
  /** @type {Map<string, { module: Module, objects: string[] }>} */
  const links = new Map();
  for (const module of modules) {
    const objects = module.sources.map(({ source, cflags: more = [] }) => {
      const text = textWithIncludes(source);
      // Only what a source asks for, so that modules share the objects of all others.
      const defines = Object.entries(module.defines).filter(([name]) => text.includes(name));
      const args = [...cflags, ...more, ...defines.flatMap(([name, itsFlags]) => [`-D${name}`, ...itsFlags])];
      const key = createHash('sha256').update(JSON.stringify([lock, source, text, args])).digest('hex').slice(0, 32);
      if (!existsSync(join(cacheDir, `${key}.o`))) jobs.set(key, { source, args });
      return key;
    });
    const key = createHash('sha256').update(JSON.stringify([objects, module.ldflags])).digest('hex').slice(0, 32);
    links.set(key, { module, objects });
  }
  const missingLinks = [...links].filter(([key]) => !existsSync(join(cacheDir, `${key}.wasm`)));
  if (jobs.size || missingLinks.length) {
    say(`compiling ${names.join(', ')} with the pinned toolchain (${jobs.size} files) ...`);
    await compileAll(jobs, tree);
    const { clang } = await compiler();
    for (const [key, { module, objects }] of missingLinks) {
      /** @type {Record<string, Uint8Array>} */
      const files = {};
      const inputs = module.sources.map(({ source }, i) => {
        files[objectName(source)] = readFileSync(join(cacheDir, `${objects[i]}.o`));
        return objectName(source);
      });
      const wasm = await clang(['--target=wasm32-wasip1', ...module.ldflags, ...inputs, '-o', 'out.wasm'], files, 'out.wasm');
      writeAtomic(join(cacheDir, `${key}.wasm`), wasm);
    }
  }
  return new Map([...links].map(([key, { module }]) => [module.name, readFileSync(join(cacheDir, `${key}.wasm`))]));
}

async function compiler() {
  const path = join(toolchainDir, 'node_modules', '@yowasp', 'clang', 'gen', 'bundle.js');
  const { commands, runLLVM } = await import(pathToFileURL(path).href);
  // loads the compiler; otherwise it would print how far it has got
  await runLLVM(null, {}, { fetchProgress: () => {} });
  /** @param {string[]} args @param {object} files @param {string} output */
  const clang = async (args, files, output) => {
    let messages = '';
    const decoder = new TextDecoder();
    const collect = (/** @type {Uint8Array | null} */ bytes) => {
      if (bytes) messages += decoder.decode(bytes, { stream: true });
    };
    try {
      const out = await commands.clang(args, files, { stdout: collect, stderr: collect });
      if (messages) say(messages.trimEnd());
      return /** @type {Uint8Array} */ (out[output]);
    } catch (error) {
      throw new SetupError(`clang ${args.join(' ')}\n${messages || error}`);
    }
  };
  return { clang };
}

/**
 * Compiles in worker threads, one per core: each has a compiler of its own.
 * @param {Map<string, { source: string, args: string[] }>} jobs @param {object} tree
 */
async function compileAll(jobs, tree) {
  const queue = [...jobs];
  const worker = () =>
    new Promise((resolve, reject) => {
      const thread = new Worker(fileURLToPath(import.meta.url));
      const next = () => {
        const job = queue.shift();
        if (job) thread.postMessage({ key: job[0], ...job[1], tree });
        else thread.terminate().then(resolve);
      };
      thread.on('error', reject);
      thread.on('message', ({ key, object, error }) => {
        if (error) {
          queue.length = 0;
          thread.terminate();
          reject(new SetupError(error));
          return;
        }
        writeAtomic(join(cacheDir, `${key}.o`), object);
        next();
      });
      next();
    });
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4, queue.length) }, worker));
}

if (!isMainThread && parentPort) {
  const port = parentPort;
  const ready = compiler();
  port.on('message', async ({ key, source, args, tree }) => {
    try {
      const { clang } = await ready;
      port.postMessage({ key, object: await clang(['-c', source, ...args, '-o', 'out.o'], tree, 'out.o') });
    } catch (error) {
      port.postMessage({ key, error: String(/** @type {any} */ (error).message ?? error) });
    }
  });
}
