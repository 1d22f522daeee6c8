// What native fuzzers do to the C core, done to the modules: hostile files, and their functions called with any numbers in any order.
// Nothing may trap: a trap is a WebAssembly.RuntimeError, which is no TansyError.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPTIONS, PAGE_NBYTES, SAMPLER, writeStruct } from '../../js/abi.js';
import { Planner } from '../../js/engine.js';
import { TansyError } from '../../js/errors.js';
import { load } from '../../js/index.js';
import { boundedMemory, instantiate } from '../../js/instantiate.js';
import { checkLoadOptions } from '../../js/options.js';
import { fuzzGguf, mutate, randomBelow, seedFile } from '../fuzz/fuzz_gguf.mjs';
import { crc32 } from '../reference/crc32.js';
import { built, root } from './lib/builds.js';

const module = await WebAssembly.compile(readFileSync(built(join(root, 'dist/tansy-simd128.wasm'))));
const malformed = (/** @type {string} */ name) => readFileSync(join(root, 'tests/malformed', `${name}.tansy`));

/** Makes the checksums right, as far as the front is one. @param {Buffer} file */
function seal(file) {
  const jsonNbytes = file.length >= 8 ? Number(file.readBigUInt64LE(0)) : Infinity;
  const at = 8 + jsonNbytes;
  if (!(at + 25 <= file.length)) return file;
  const indexNbytes = file.readUInt32LE(at + 12);
  const payloadNbytes = Number(file.readBigUInt64LE(at + 16)) - indexNbytes;
  const chunkNbytes = 2 ** file[at + 24];
  const end = at + indexNbytes;
  if (end > file.length || indexNbytes < 29) return file;
  const nChunks = Math.ceil(payloadNbytes / chunkNbytes);
  if (nChunks >= 0 && 4 * nChunks <= indexNbytes - 29)
    for (let i = 0; i < nChunks; i++) {
      const chunk = file.subarray(end + i * chunkNbytes, Math.min(end + payloadNbytes, end + (i + 1) * chunkNbytes));
      file.writeUInt32LE(crc32(chunk), end - 4 - 4 * (nChunks - i));
    }
  file.writeUInt32LE(crc32(file.subarray(at, end - 4)), end - 4);
  return file;
}

/** @param {Uint8Array} bytes @returns {Promise<string>} the code */
async function outcome(bytes) {
  try {
    const model = await load(bytes, { wasmUrl: module, threads: 1, memoryBudget: 32 << 20 });
    try {
      const run = model.generate([0, 0], { maxTokens: 2, temperature: 0, ignoreEos: true, stop: [] });
      for await (const text of run) assert.equal(typeof text, 'string');
      return 'TANSY_OK';
    } finally {
      model.dispose();
    }
  } catch (error) {
    if (error instanceof TansyError) return error.code;
    throw error;
  }
}

test('the corpora of the native fuzzers, through the module', async () => {
  let n = 0;
  for (const [target, skip] of /** @type {const} */ ([['engine', 0], ['container', 8]])) {
    const folder = join(root, 'tests/fuzz/seeds', `fuzz_${target}`);
    for (const name of readdirSync(folder)) {
      await outcome(seal(Buffer.from(readFileSync(join(folder, name)).subarray(skip))));
      n++;
    }
  }
  assert.ok(n >= 5);
});

test('mutated files with right checksums load or are refused, and both happen', async () => {
  const below = randomBelow(20);
  const seeds = [malformed('sound'), malformed('attachments-two-chunks')];
  /** @type {Record<string, number>} */
  const seen = {};
  for (let i = 0; i < 600; i++) {
    const code = await outcome(seal(mutate(seeds[i % 2], below)));
    seen[code] = (seen[code] ?? 0) + 1;
  }
  for (const code of ['TANSY_OK', 'TANSY_CORRUPT', 'TANSY_TRUNCATED']) assert.ok(seen[code] > 5, JSON.stringify(seen));
});

test('mutated GGUF files are read or refused, and soon', () => {
  const folder = join(root, 'tests/fuzz/seeds/fuzz_gguf');
  const found = existsSync(folder) ? readdirSync(folder).map((name) => readFileSync(join(folder, name))) : [];
  const { executions, refused, failure } = fuzzGguf({ seeds: [seedFile('llama'), seedFile('gpt2'), ...found], seconds: 60, rounds: 400 });
  assert.equal(failure, undefined);
  assert.equal(executions, 400);
  assert.ok(refused > 100 && refused < 400, String(refused));
});

/* ---- the flat interface ---- */

const PROMPT = [1, 7, 3, 11, 2];
const ENDED = 1; /* what a step says while there is more to do */

/** A module with an engine in it. @param {Buffer} file */
async function openEngine(file) {
  const planner = await Planner.create(module);
  const { nbytes } = planner.headerNbytes(file);
  const header = file.subarray(0, nbytes);
  const options = { ...checkLoadOptions('load', {}), memoryBudget: 0, threads: 1 };
  const { status, plan } = planner.plan(header, options);
  assert.equal(status, 0);
  const nPages = plan.totalNbytes / PAGE_NBYTES;
  const memory = boundedMemory(nPages, nPages, false);
  const x = await instantiate(module, memory);
  const base = x.tansy_heap_base() >>> 0;
  const h = (base + nbytes + 15) & ~15;
  new Uint8Array(memory.buffer, base, nbytes).set(header);
  const view = new DataView(memory.buffer);
  const optionsAt = (memory.buffer.byteLength - OPTIONS.nbytes) & ~15;
  writeStruct(view, optionsAt, OPTIONS, { staticNbytes: h });
  assert.equal(x.tansy_create(base, nbytes, optionsAt, h, memory.buffer.byteLength - h), 0);
  const io = x.tansy_io(h) >>> 0;
  const bytes = () => new Uint8Array(memory.buffer);
  const fill = (/** @type {number} */ i) => {
    const at = x.tansy_chunk_slot(h, i) >>> 0;
    if (at === 0) return;
    const from = x.tansy_chunk_file_offset(h, i);
    bytes().set(file.subarray(from, from + x.tansy_chunk_size(h, i)), at);
    assert.equal(x.tansy_chunk_commit(h, i), 0);
  };
  const logits = () => {
    const nChunks = x.tansy_n_chunks(h);
    for (let i = 0; i < nChunks; i++) x.tansy_chunk_drop(h, i);
    for (let i = 0; i < nChunks; i++) fill(i);
    x.tansy_cancel(h);
    assert.equal(x.tansy_rewind(h, 0), 0);
    new Int32Array(memory.buffer, io, PROMPT.length).set(PROMPT);
    assert.equal(x.tansy_begin(h, io, PROMPT.length, 0), 0);
    let left = ENDED;
    while (left === ENDED) left = x.tansy_step(h);
    assert.equal(left, 0);
    return Buffer.from(memory.buffer.slice(x.tansy_logits_at(h) >>> 0, (x.tansy_logits_at(h) >>> 0) + 4 * plan.vocab));
  };
  return { x, h, io, memory, view, plan, fill, logits };
}

test('functions of the module, with any numbers in any order: no trap, and the logits are right afterwards', async () => {
  const file = malformed('attachments-two-chunks');
  const expected = (await openEngine(file)).logits();
  const below = randomBelow(5);
  const any = () => (below(8) ? below(40) : below(2) ? below(2 ** 32) | 0 : -below(1000));
  for (let round = 0; round < 30; round++) {
    const { x, h, io, memory, view, plan, fill, logits } = await openEngine(file);
    /** Calls with numbers where the interface takes numbers; pointers are the engine's own area. @type {(() => unknown)[]} */
    const calls = [
      () => fill(below(3)),
      () => x.tansy_chunk_slot(h, any()),
      () => x.tansy_chunk_drop(h, any()),
      () => x.tansy_chunk_status(h, any()),
      () => x.tansy_chunk_size(h, any()),
      () => x.tansy_chunk_file_offset(h, any()),
      () => x.tansy_chunk_commit(h, any() | 0x10000),
      () => {
        const n = below(plan.context);
        for (let i = 0; i < n; i++) view.setInt32(io + 4 * i, any(), true);
        x.tansy_begin(h, io, n, any());
      },
      () => x.tansy_begin(h, io, 0, 1),
      () => {
        for (let n = below(9); n > 0; n--) x.tansy_step(h);
      },
      () => x.tansy_cancel(h),
      () => x.tansy_keep(h, any()),
      () => x.tansy_rewind(h, any()),
      () => {
        writeStruct(view, io, SAMPLER, { temperature: any() / 8, topK: any(), topP: any() / 30, minP: any() / 40, repeatPenalty: any(), repeatLastN: any() });
        const id = x.tansy_sample(h, io);
        assert.ok(id < plan.vocab && id > -18, String(id));
      },
      () => x.tansy_logprob(h, any()),
      () => x.tansy_sampler_seed(h, any(), any()),
      () => x.tansy_probe(h, any(), below(3)),
      () => {
        const [i, n] = [any(), any()];
        const at = x.tansy_session_at(h, i, n) >>> 0;
        if (at !== 0) new Uint8Array(memory.buffer, at, x.tansy_session_size(h, i, n) >>> 0).fill(below(256));
      },
      () => x.tansy_session_set(h, any()),
      () => x.tansy_attachment_at(h, any(), io),
      () => x.tansy_config_value(h, any()),
      () => x.tansy_worker_stack(h, any()),
      () => x.tansy_stats(h, io),
      () => x.tansy_layers_ready(h),
      () => x.tansy_workers_end(h),
    ];
    for (let i = 0; i < 200; i++) calls[below(calls.length)]();
    assert.equal(Buffer.compare(logits(), expected), 0, `round ${round}`);
  }
});
