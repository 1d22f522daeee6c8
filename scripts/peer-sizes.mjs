// npm run size:peers: what a page would download of other engines before the model, from their packages on npm: JavaScript, minified
// where the package has that, and the smallest module that runs on the CPU (web-llm: without a model's library). For docs/comparison.md.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** engine → package and version → its files; `folder/`: every .js in it */
const PEERS = {
  'picoLLM 2.1.4': { '@picovoice/picollm-web@2.1.4': ['dist/iife/index.min.js'] },
  'web-llm 0.2.86': { '@mlc-ai/web-llm@0.2.86': ['lib/index.js'] },
  'wllama 3.8.1': { '@wllama/wllama@3.8.1': ['esm/index.min.js', 'esm/wasm/wllama.wasm'] },
  'transformers.js 4.3.1': {
    '@huggingface/transformers@4.3.1': ['dist/transformers.web.min.js'],
    'onnxruntime-web@1.30.0': ['dist/ort.wasm.min.mjs', 'dist/ort-wasm-simd-threaded.mjs', 'dist/ort-wasm-simd-threaded.wasm'],
  },
  'LiteRT-LM 0.17.1': { '@litert-lm/core@0.17.1': ['dist/', 'wasm/litertlm_wasm_internal.js', 'wasm/litertlm_wasm_internal.wasm'] },
  'MediaPipe 0.10.29': { '@mediapipe/tasks-genai@0.10.29': ['genai_bundle.mjs', 'wasm/genai_wasm_internal.js', 'wasm/genai_wasm_internal.wasm'] },
};

const folder = mkdtempSync(join(tmpdir(), 'tansy-peers-'));

/** @param {string} program @param {string[]} args */
function run(program, ...args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error ?? stderr}`);
  return stdout.trim();
}

const kb = (/** @type {number} */ n) => Math.round(n / 1000).toLocaleString('en').padStart(8);
try {
  console.log(`${''.padEnd(24)}      raw     gzip  (KB)`);
  for (const [engine, packages] of Object.entries(PEERS)) {
    let [raw, packed] = [0, 0];
    for (const [name, files] of Object.entries(packages)) {
      run('tar', 'xzf', run('npm', 'pack', '--silent', name));
      const all = files.flatMap((file) => (file.endsWith('/') ? readdirSync(join(folder, 'package', file)).filter((name) => name.endsWith('.js')).map((name) => file + name) : file));
      for (const file of all) {
        const bytes = readFileSync(join(folder, 'package', file));
        raw += bytes.length;
        packed += gzipSync(bytes, { level: 9 }).length;
      }
      rmSync(join(folder, 'package'), { recursive: true });
    }
    console.log(`${engine.padEnd(24)} ${kb(raw)} ${kb(packed)}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
