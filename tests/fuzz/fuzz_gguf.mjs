// js/gguf/ against mutated files: it may refuse one, with a TansyError, and must do so soon.
//
//   node fuzz_gguf.mjs --seconds N [--found FOLDER] [--rounds N] SEEDS
//
// Prints what libFuzzer prints of executions, so that scripts/fuzz.mjs reads both alike.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { TansyError } from '../../js/errors.js';
import { ggufCheckpoint } from '../../js/gguf/checkpoint.js';
import { gguf } from '../js/lib/gguf.js';

const EDGES = [0, 1, 0x7f, 0x80, 0xff];

/** @param {number} seed */
export function randomBelow(seed) {
  let state = seed >>> 0;
  return (/** @type {number} */ n) => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return ((z ^ (z >>> 16)) >>> 0) % n;
  };
}

/** @param {Buffer} seed @param {(n: number) => number} below */
export function mutate(seed, below) {
  let bytes = Buffer.from(seed);
  for (let n = 1 + below(5); n > 0; n--) {
    const at = below(bytes.length + 1);
    switch (below(6)) {
      case 0: if (at < bytes.length) bytes[at] ^= 1 << below(8); break;
      case 1: if (at < bytes.length) bytes[at] = below(256); break;
      case 2: bytes.fill(EDGES[below(EDGES.length)], at, Math.min(at + 4, bytes.length)); break;
      case 3: bytes.fill(EDGES[below(EDGES.length)], at, Math.min(at + 8, bytes.length)); break;
      case 4: bytes = bytes.subarray(0, at); break;
      default: bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(at + 1), at), bytes.subarray(at)]);
    }
  }
  return bytes;
}

/** A small file with most kinds of metadata and a few types of tensors. @param {string} model of the tokenizer */
export function seedFile(model) {
  const metadata = {
    'general.architecture': 'llama',
    'general.alignment': 32,
    'llama.block_count': 1,
    'llama.context_length': 32,
    'llama.embedding_length': 32,
    'llama.feed_forward_length': 32,
    'llama.attention.head_count': 2,
    'llama.attention.head_count_kv': { i32: [1] },
    'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
    'llama.rope.dimension_count': 16,
    'llama.rope.freq_base': { f32: 10000 },
    'tokenizer.ggml.model': model,
    'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', '\ufeffb'],
    'tokenizer.ggml.scores': { f32: [0, 0, 0, -1, -2, -3, -4] },
    'tokenizer.ggml.token_type': { i32: [2, 3, 3, 1, 1, 1, 1] },
    'tokenizer.ggml.merges': ['a b'],
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.add_bos_token': true,
    'tokenizer.chat_template': '{{ messages }}',
  };
  return gguf(metadata, [
    { name: 'token_embd.weight', shape: [7, 32], type: 'Q8_0', bytes: Buffer.alloc(7 * 34) },
    { name: 'output_norm.weight', shape: [32], type: 'F32', bytes: Buffer.alloc(128) },
    { name: 'rope_freqs.weight', shape: [8], type: 'F32', bytes: Buffer.alloc(32, 0x3f) },
    { name: 'blk.0.attn_q.weight', shape: [32, 32], type: 'F16', bytes: Buffer.alloc(2048) },
  ]);
}

/**
 * @param {object} job
 * @param {Buffer[]} job.seeds
 * @param {number} job.seconds
 * @param {number} [job.rounds]
 * @param {number} [job.seed]
 * @returns {{executions: number, refused: number, failure?: {bytes: Buffer, error: unknown}}}
 */
export function fuzzGguf({ seeds, seconds, rounds = Infinity, seed = 1 }) {
  const folder = mkdtempSync(join(tmpdir(), 'tansy-gguf-'));
  const path = join(folder, 'fuzz.gguf');
  const below = randomBelow(seed);
  const end = performance.now() + seconds * 1000;
  let executions = 0;
  let refused = 0;
  try {
    while (executions < rounds && performance.now() < end) {
      const bytes = executions < seeds.length ? seeds[executions] : mutate(seeds[below(seeds.length)], below);
      writeFileSync(path, bytes);
      const began = performance.now();
      try {
        const { tensors } = JSON.parse(ggufCheckpoint(path)['model.gguf.json']);
        for (const { data_offsets: [from, to] } of Object.values(tensors))
          if (!(from >= 0 && to >= from && to <= bytes.length)) return { executions, refused, failure: { bytes, error: new Error('a tensor outside the file') } };
      } catch (error) {
        if (!(error instanceof TansyError)) return { executions, refused, failure: { bytes, error } };
        refused++;
      }
      if (performance.now() - began > 5000) return { executions, refused, failure: { bytes, error: new Error('it took more than 5 s') } };
      executions++;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { executions, refused };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values, positionals } = parseArgs({ options: { seconds: { type: 'string', default: '1' }, found: { type: 'string', default: '.' } }, allowPositionals: true });
  const found = positionals.filter(existsSync).flatMap((dir) => readdirSync(dir).map((file) => readFileSync(join(dir, file))));
  const seeds = [seedFile('llama'), seedFile('gpt2'), ...found];
  const { executions, failure } = fuzzGguf({ seeds, seconds: Number(values.seconds), seed: Date.now() });
  console.log(`stat::number_of_executed_units: ${executions}`);
  if (failure) {
    const path = join(values.found, `gguf-${Date.now().toString(16)}`);
    writeFileSync(path, failure.bytes);
    console.error(`${path}:`, failure.error);
    process.exitCode = 1;
  }
}
