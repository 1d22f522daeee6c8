// What a page downloads to run a model, as a host that compresses sends it (gzip -9, KB = 1000 bytes).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { webBundle } from '../build-web.mjs';
import { root } from './tools.mjs';

/** What the project promises, in bytes of gzip. */
export const LIMITS = Object.freeze({ core: 120_000, whole: 200_000 });

/** Libraries for tokenizers and chat templates; everything else of the worker is the engine's own. */
const LIBRARIES = ['@huggingface/tokenizers', '@huggingface/jinja'];

/** @typedef {{name: string, nbytes: number, gzipNbytes: number}} Size */

/** @param {string} name @param {Uint8Array} bytes @returns {Size} */
const sizeOf = (name, bytes) => ({ name, nbytes: bytes.length, gzipNbytes: gzipSync(bytes, { level: 9 }).length });

/**
 * Needs dist/. A page loads one module: the first that its browser validates.
 * @returns {Promise<{parts: Record<'page' | 'engine' | 'libraries' | 'simd128' | 'relaxed' | 'simd128Threads' | 'relaxedThreads', Size>, core: number, whole: number}>}
 */
export async function measureSizes() {
  const dist = (/** @type {string} */ name) => readFileSync(join(root, 'dist', name));
  const engine = sizeOf('worker: engine', await webBundle('web/tansy-worker.js', { external: LIBRARIES }));
  const worker = sizeOf('worker', dist('tansy-worker.js'));
  const parts = {
    page: sizeOf('page: tansy.js', dist('tansy.js')),
    engine,
    libraries: { name: 'worker: tokenizer, chat template', nbytes: worker.nbytes - engine.nbytes, gzipNbytes: worker.gzipNbytes - engine.gzipNbytes },
    simd128: sizeOf('module: SIMD', dist('tansy-simd128.wasm')),
    relaxed: sizeOf('module: relaxed SIMD', dist('tansy-relaxed.wasm')),
    simd128Threads: sizeOf('module: SIMD, threads', dist('tansy-simd128-threads.wasm')),
    relaxedThreads: sizeOf('module: relaxed SIMD, threads', dist('tansy-relaxed-threads.wasm')),
  };
  const core = parts.page.gzipNbytes + engine.gzipNbytes + parts.relaxedThreads.gzipNbytes;
  return { parts, core, whole: core + parts.libraries.gzipNbytes };
}

/** @param {number} nbytes */
export const kilobytes = (nbytes) => `${(nbytes / 1000).toFixed(1)} KB`;
