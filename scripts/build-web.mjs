// The browser's files of dist/, made from web/ and js/ by esbuild:
//
//   tansy.js          for <script src>: defines the global `tansy`
//   tansy.esm.js      the same as an ES module
//   tansy-worker.js   the worker that both start: engine, tokenizer and all
//   tansy-thread.js   what helper threads run, on isolated pages
//   tansy-isolate.js  the cross-origin isolation helper, for hosts without headers
//
// They stand alone, beside the wasm modules that scripts/build.mjs puts there.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { root } from './lib/tools.mjs';

/** In dist/ the modules lie beside the script that asks for them, not in ../dist/, and so does the script of helper threads. @type {import('esbuild').Plugin} */
const wasmBeside = {
  name: 'wasm-beside',
  setup({ onLoad }) {
    onLoad({ filter: /[/\\]js[/\\](platform[/\\])?[^/\\]+\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8'))
        .replaceAll("new URL('../dist/", "new URL('./")
        .replaceAll("new URL('./browser_thread.js'", "new URL('./tansy-thread.js'"),
    }));
  },
};

/** @type {import('esbuild').BuildOptions} */
const shared = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  charset: 'utf8',
  platform: 'browser',
  // The first with AbortSignal.any; module workers and SIMD128 are older.
  target: ['chrome116', 'firefox124', 'safari17.4'],
  legalComments: 'eof',
  logLevel: 'warning',
  plugins: [wasmBeside],
};

/**
 * A bundle as a page gets it, in memory, without what is `external`.
 * @param {string} entry
 * @param {{ external?: string[] }} [options]
 */
export async function webBundle(entry, { external } = {}) {
  const { outputFiles } = await build({ ...shared, format: 'esm', entryPoints: [entry], external, write: false, outdir: root });
  return outputFiles[0].contents;
}

/** @param {{ outdir?: string }} [options] */
export async function buildWeb({ outdir = join(root, 'dist') } = {}) {
  /** @type {import('esbuild').BuildOptions} */
  const common = { ...shared, outdir, sourcemap: 'linked' };
  await Promise.all([
    build({ ...common, format: 'esm', entryPoints: { 'tansy.esm': 'web/index.js', 'tansy-worker': 'web/tansy-worker.js', 'tansy-thread': 'js/platform/browser_thread.js' } }),
    build({
      ...common,
      format: 'iife',
      globalName: 'tansy',
      entryPoints: { tansy: 'web/global.js' },
      // Only while the script runs does document.currentScript name it. CDNs also serve it at the package's bare address.
      define: { 'import.meta.url': 'tansyScriptUrl' },
      banner: { js: '(()=>{let tansyScriptUrl=document.currentScript.src;if(!/\\.js([?#]|$)/.test(tansyScriptUrl))tansyScriptUrl=tansyScriptUrl.replace(/\\/?([?#].*)?$/,"/dist/tansy.js");' },
      footer: { js: 'globalThis.tansy=tansy})();' },
    }),
    build({ ...common, format: 'esm', entryPoints: { 'tansy-isolate': 'web/tansy-isolate.js' } }),
  ]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildWeb();
