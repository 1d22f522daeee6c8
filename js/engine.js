/**
 * engine.js: the flat exports of one module as two classes. Planner answers from the header alone, in a small memory of its
 * own; Engine runs a model in a memory of the planned size, which grows to it with the conversation.
 *
 * Every pointer and unsigned count that comes out of wasm is a signed i32 to JavaScript: `>>> 0` makes it what it is.
 */
import {
  ATTACHMENT,
  CONFIG_KEYS,
  DETAIL,
  KV_FORMS,
  NO_TENSOR,
  OPTIONS,
  PAGE_NBYTES,
  PLAN,
  PLAN_DETAIL_AT,
  RESIDENCIES,
  SAMPLER,
  STATS,
  readStruct,
  writeStruct,
} from './abi.js';
import { copyOf } from './bytes.js';
import { TansyError, statusError } from './errors.js';
import { boundedMemory, growMemory, instantiate } from './instantiate.js';
import { tensorName } from './roles.js';
import { Team, isThreaded } from './threads.js';
import { formatBytes } from './units.js';

const TRUNCATED = 2; /* TANSY_ERR_TRUNCATED */
const OVER_BUDGET = 9; /* TANSY_ERR_OVER_BUDGET */
/** Pages of the planning memory before header and work memory: more than static data and stack of any module. */
const PLANNER_N_PAGES = 16;
/** Emscripten's modules want a maximum; the largest header and its work memory stay far below this. */
const PLANNER_MAX_PAGES = 4096;

/** @typedef {Record<keyof typeof PLAN.fields, number>} PlanNumbers */
/**
 * @typedef {PlanNumbers & {forms: Uint8Array, budgetNbytes: number, minNbytes: number, maxNbytes: number}} Plan
 * forms: 0 ANS, 1 packed, 2 int8, 255 vector, by tensor. budgetNbytes: what it was made for; 0: no limit. From minNbytes to maxNbytes memory buys speed.
 */
/** @typedef {Record<keyof typeof DETAIL.fields, number>} Detail */

/** @param {number} n */
const align16 = (n) => (n + 15) & ~15;

/** Answers questions about a header. */
export class Planner {
  #exports;
  #memory;
  #base;

  /**
   * @param {import('./instantiate.js').Exports} exports
   * @param {WebAssembly.Memory} memory
   */
  constructor(exports, memory) {
    this.#exports = exports;
    this.#memory = memory;
    this.#base = exports.tansy_heap_base() >>> 0;
  }

  /** @param {WebAssembly.Module} module */
  static async create(module) {
    const memory = boundedMemory(PLANNER_N_PAGES, PLANNER_MAX_PAGES, isThreaded(module));
    return new Planner(await instantiate(module, memory), memory);
  }

  /**
   * @param {Uint8Array} front the file's first bytes, 16 or more
   * @returns {{nbytes: number, complete: boolean}} bytes the header takes; not complete: ask again with so many
   */
  headerNbytes(front) {
    const out = this.#base;
    const at = out + 16;
    this.#reserve(at + front.length);
    this.#bytes(at, front.length).set(front);
    const status = this.#exports.tansy_header_nbytes(at, front.length, out);
    if (status !== 0 && status !== TRUNCATED) throw statusError(status);
    return { nbytes: this.#view().getFloat64(out, true), complete: status === 0 };
  }

  /**
   * @param {Uint8Array} header
   * @param {import('./budget.js').DecidedOptions} options
   * @returns {{status: number, plan: Plan, detail: Detail}}
   */
  plan(header, options) {
    const optionsAt = this.#base;
    const planAt = optionsAt + OPTIONS.nbytes;
    const headerAt = planAt + PLAN.nbytes;
    const workAt = align16(headerAt + header.length);
    this.#reserve(workAt);
    this.#bytes(headerAt, header.length).set(header);
    const workNbytes = this.#exports.tansy_plan_work_nbytes(headerAt, header.length) >>> 0;
    this.#reserve(workAt + workNbytes);
    writeStruct(this.#view(), optionsAt, OPTIONS, engineOptions(options));
    const status = this.#exports.tansy_plan(headerAt, header.length, optionsAt, planAt, workAt, workNbytes);
    const view = this.#view();
    const plan = readStruct(view, planAt, PLAN);
    const forms = copyOf(this.#bytes(workAt, status === 0 ? plan.nTensors : 0));
    const ends = { budgetNbytes: options.memoryBudget, minNbytes: plan.neededNbytes, maxNbytes: plan.totalNbytes };
    return { status, plan: { ...plan, ...ends, forms }, detail: readStruct(view, planAt + PLAN_DETAIL_AT, DETAIL) };
  }

  /** @param {number} end */
  #reserve(end) {
    growMemory(this.#memory, end);
  }
  /* growth detaches views, so they are made anew each time */
  #view() {
    return new DataView(this.#memory.buffer);
  }
  /**
   * @param {number} at
   * @param {number} nbytes
   */
  #bytes(at, nbytes) {
    return new Uint8Array(this.#memory.buffer, at, nbytes);
  }
}

/**
 * @param {import('./budget.js').DecidedOptions} options
 * @returns {Partial<Record<keyof typeof OPTIONS.fields, number>>}
 */
function engineOptions(options) {
  return {
    budgetNbytes: options.memoryBudget,
    context: options.contextSize,
    nThreads: options.threads,
    kvForm: KV_FORMS[options.kv],
    residency: RESIDENCIES[options.residency],
    maxBatch: options.batchSize ?? 0,
    nStaging: options.nStaging ?? 0,
    ...options.costs,
    targetNsPerToken: options.targetNsPerToken,
  };
}

/**
 * A failed status with what is known of it, as a sentence.
 * @param {number} status
 * @param {Detail} detail
 * @param {string} name of the file
 * @param {import('./budget.js').DecidedOptions} options
 * @returns {TansyError}
 */
export function detailError(status, detail, name, options) {
  const where = detail.tensor === NO_TENSOR ? undefined : tensorName(detail.role, detail.layer);
  /** @type {Record<string, unknown>} */
  const details = {};
  if (where !== undefined) details.tensor = where;
  if (detail.offset >= 0) details.offset = detail.offset;
  const plain = statusError(status, undefined, details);
  if (status === OVER_BUDGET) {
    const needed = detail.neededNbytes;
    const context = options.contextSize > 0 ? ` at a context of ${options.contextSize} tokens` : '';
    details.bytesNeeded = needed;
    if (options.memoryBudget > 0) {
      details.bytesMissing = needed - options.memoryBudget;
      return new TansyError(
        'TANSY_OVER_BUDGET',
        `${name} needs at least ${needed} bytes (${formatBytes(needed)}) of memory${context}; the budget of ${options.memoryBudget} bytes is ` +
          `${needed - options.memoryBudget} short. Raise memoryBudget or lower contextSize.`,
        details,
      );
    }
    return new TansyError('TANSY_OVER_BUDGET', `${name} needs at least ${needed} bytes${context}, more than a 32-bit memory holds. Lower contextSize.`, details);
  }
  if (plain.code === 'TANSY_SHAPE') {
    const got = `[${detail.nRows}, ${detail.nCols}]`;
    const want = `[${detail.expectedNRows}, ${detail.expectedNCols}]`;
    const what =
      detail.nRows === 0
        ? `the tensor ${where ?? 'the config asks for'} ${want} is missing`
        : detail.expectedNRows === 0 && detail.expectedNCols === 0
          ? `the config has no place for the tensor ${where} ${got}`
          : `the tensor ${where} is ${got} where the config asks for ${want}`;
    return new TansyError('TANSY_SHAPE', `${name}: ${what}. Compress the model again from a matching config.json.`, details);
  }
  if (plain.code === 'TANSY_CONTEXT' && detail.neededNbytes > 0)
    return new TansyError('TANSY_CONTEXT', `${name}: there is room for ${detail.neededNbytes} tokens only; lower contextSize or shorten the prompt.`, {
      ...details,
      room: detail.neededNbytes,
    });
  const at = where === undefined ? (detail.offset >= 0 ? ` at byte ${detail.offset}` : '') : ` in the tensor ${where}`;
  return new TansyError(plain.code, `${name}${at}: ${plain.message}`, details);
}

/** One model in its memory; a ChunkSink of loader.js. */
export class Engine {
  #x;
  #h;
  #io;
  #memory;
  #name;
  #options;
  /** @type {Team | undefined} */
  #team;

  /**
   * @param {import('./instantiate.js').Exports} exports
   * @param {WebAssembly.Memory} memory
   * @param {number} handle
   * @param {Plan} plan
   * @param {string} name of the file, for messages
   * @param {import('./budget.js').DecidedOptions} options
   */
  constructor(exports, memory, handle, plan, name, options) {
    this.#x = exports;
    this.#memory = memory;
    this.#h = handle;
    this.#name = name;
    this.#options = options;
    this.#io = exports.tansy_io(handle) >>> 0;
    this.plan = plan;
    this.vocab = plan.vocab;
    this.context = plan.context;
    this.nChunks = exports.tansy_n_chunks(handle) >>> 0;
    this.kernels = this.#string(exports.tansy_kernels_name(handle) >>> 0);
  }

  /**
   * @param {WebAssembly.Module} module
   * @param {Uint8Array} header
   * @param {Plan} plan
   * @param {string} name
   * @param {import('./budget.js').DecidedOptions} options
   */
  static async create(module, header, plan, name, options) {
    const memory = boundedMemory(plan.startNbytes / PAGE_NBYTES, plan.totalNbytes / PAGE_NBYTES, isThreaded(module));
    const exports = await instantiate(module, memory);
    const base = exports.tansy_heap_base() >>> 0;
    const arena = align16(base + header.length) >>> 0;
    const arenaNbytes = memory.buffer.byteLength - arena;
    new Uint8Array(memory.buffer, base, header.length).set(header);
    /* the arena's end is free until tansy_create has read the options */
    const optionsAt = ((arena + arenaNbytes - OPTIONS.nbytes) & ~15) >>> 0;
    writeStruct(new DataView(memory.buffer), optionsAt, OPTIONS, { ...engineOptions(options), staticNbytes: arena });
    const status = exports.tansy_create(base, header.length, optionsAt, arena, arenaNbytes);
    if (status !== 0) throw detailError(status, readStruct(new DataView(memory.buffer), exports.tansy_detail(arena) >>> 0, DETAIL), name, options);
    const engine = new Engine(exports, memory, arena, plan, name, options);
    const jobs = [];
    for (let thread = 1; thread < plan.nThreads; thread++)
      jobs.push({ module, memory, handle: arena, thread, stack: exports.tansy_worker_stack(arena, thread) >>> 0 });
    engine.#team = new Team(jobs);
    return engine;
  }

  /** @param {number} status @returns {TansyError} */
  error(status) {
    return detailError(status, readStruct(this.#view(), this.#x.tansy_detail(this.#h) >>> 0, DETAIL), this.#name, this.#options);
  }

  /**
   * Sends helper threads home; the engine is of no use afterwards.
   * @returns {Promise<void>} when the last of them has let go of the memory
   */
  async dispose() {
    if (this.#team?.size) this.#x.tansy_workers_end(this.#h);
    await this.#team?.stop();
  }

  /** Threads at work, this one included. */
  get nThreads() {
    return 1 + (this.#team?.size ?? 0);
  }

  /**
   * Makes the KV cache long enough, by growing the memory within its plan. Views of the heap are void afterwards. When the system has no more
   * memory to give, nothing is changed.
   * @param {number} nTokens
   */
  makeRoom(nTokens) {
    const end = this.#h + this.#x.tansy_arena_size(this.#h, nTokens);
    if (end <= this.#memory.buffer.byteLength) return;
    growMemory(this.#memory, end);
    const status = this.#x.tansy_grow(this.#h, this.#memory.buffer.byteLength - this.#h);
    if (status !== 0) throw this.error(status);
  }

  /**
   * Room for a long prompt whose layers are still coming, in the part of the plan that the conversation will need later.
   * @param {number} nTokens
   */
  #makeRoomForWaiting(nTokens) {
    const wanted = this.#x.tansy_arena_size(this.#h, this.position + nTokens) + 4 * nTokens * this.configValue('hidden');
    const end = this.#h + Math.min(wanted, this.plan.arenaNbytes);
    if (end <= this.#memory.buffer.byteLength) return;
    try {
      growMemory(this.#memory, end);
    } catch {
      return; /* then it waits */
    }
    this.#x.tansy_grow(this.#h, this.#memory.buffer.byteLength - this.#h);
  }

  /** Bytes of the wasm memory. */
  get heapNbytes() {
    return this.#memory.buffer.byteLength;
  }

  /* ---- loading ---- */

  /** @param {number} i */
  chunkOffset(i) {
    return this.#x.tansy_chunk_file_offset(this.#h, i);
  }
  /** @param {number} i */
  chunkNbytes(i) {
    return this.#x.tansy_chunk_size(this.#h, i) >>> 0;
  }
  /** @param {number} i */
  chunkBegin(i) {
    const at = this.#x.tansy_chunk_slot(this.#h, i) >>> 0;
    return at === 0 ? undefined : at;
  }
  /**
   * @param {number} i
   * @param {number} at of chunkBegin
   */
  chunkView(i, at) {
    return new Uint8Array(this.#memory.buffer, at, this.chunkNbytes(i));
  }
  /** @param {number} i */
  chunkEnd(i) {
    return this.#x.tansy_chunk_commit(this.#h, i);
  }
  /** @param {number} i */
  chunkAbort(i) {
    this.#x.tansy_chunk_drop(this.#h, i);
  }
  /** Layers that can run; layers + 1 when everything is there. */
  get layersReady() {
    return this.#x.tansy_layers_ready(this.#h) >>> 0;
  }

  /**
   * @param {Uint8Array} header
   * @returns {import('./loader.js').AttachmentPlace[]}
   */
  attachments(header) {
    const places = [];
    const n = this.#x.tansy_n_attachments(this.#h) >>> 0;
    for (let i = 0; i < n; i++) {
      const status = this.#x.tansy_attachment_at(this.#h, i, this.#io);
      if (status !== 0) throw this.error(status);
      const a = readStruct(this.#view(), this.#io, ATTACHMENT);
      places.push({
        name: new TextDecoder().decode(header.subarray(a.nameAt, a.nameAt + a.nameNbytes)),
        offset: a.fileOffset,
        nbytes: a.nbytes,
        encoding: /** @type {'raw' | 'gzip'} */ (a.encoding === 1 ? 'gzip' : 'raw'),
        rawNbytes: a.rawNbytes,
      });
    }
    return places;
  }

  /* ---- config and stats ---- */

  /** @param {keyof typeof CONFIG_KEYS} key */
  configValue(key) {
    return this.#x.tansy_config_value(this.#h, CONFIG_KEYS[key]) >>> 0;
  }

  /** @returns {Record<keyof typeof STATS.fields, number>} */
  stats() {
    this.#x.tansy_stats(this.#h, this.#io);
    return readStruct(this.#view(), this.#io, STATS);
  }

  /**
   * Runs products of one tile in a form (0 ANS, 1 packed, 2 int8) or a layer without its matrices (3), to be timed.
   * @param {number} form
   * @param {number} nRounds
   * @returns {number} weights of a round, 1 of a layer; 0: nothing can be tried
   */
  probe(form, nRounds) {
    return this.#x.tansy_probe(this.#h, form, nRounds) >>> 0;
  }

  /* ---- sessions ---- */

  /**
   * The conversation's pieces (tansy.h), as views of the heap.
   * @param {number} nTokens
   * @returns {Uint8Array[]}
   */
  sessionPieces(nTokens) {
    const n = this.#x.tansy_session_count(this.#h) >>> 0;
    return Array.from({ length: n }, (_, i) => {
      const nbytes = this.#x.tansy_session_size(this.#h, i, nTokens) >>> 0;
      return new Uint8Array(this.#memory.buffer, nbytes === 0 ? 0 : this.#x.tansy_session_at(this.#h, i, nTokens) >>> 0, nbytes);
    });
  }

  /** The pieces hold so many tokens now. @param {number} nTokens */
  sessionRestore(nTokens) {
    const status = this.#x.tansy_session_set(this.#h, nTokens);
    if (status !== 0) throw this.error(status);
  }

  /* ---- running ---- */

  get position() {
    return this.#x.tansy_position(this.#h) >>> 0;
  }

  /**
   * @param {ArrayLike<number>} ids
   * @param {boolean} allLogits
   */
  begin(ids, allLogits) {
    this.makeRoom(this.position + ids.length);
    if (ids.length > this.plan.maxBatch && this.layersReady <= this.plan.nLayers) this.#makeRoomForWaiting(ids.length);
    new Int32Array(this.#memory.buffer, this.#io, ids.length).set(ids);
    const status = this.#x.tansy_begin(this.#h, this.#io, ids.length, allLogits ? 1 : 0);
    if (status !== 0) throw this.error(status);
  }

  /**
   * One layer of one batch.
   * @returns {boolean} false when done
   */
  step() {
    const more = this.#x.tansy_step(this.#h);
    if (more < 0) throw this.error(-more);
    return more === 1;
  }

  cancel() {
    this.#x.tansy_cancel(this.#h);
  }

  /** Ends an evaluation; its first n tokens stay. @param {number} n */
  keep(n) {
    const status = this.#x.tansy_keep(this.#h, n);
    if (status !== 0) throw this.error(status);
  }

  /** @param {number} position */
  rewind(position) {
    const status = this.#x.tansy_rewind(this.#h, position);
    if (status !== 0) throw this.error(status);
  }

  /**
   * Rows of logits of the last step; a view that the next step overwrites.
   * @returns {{first: number, rows: Float32Array}} rows [n, vocab] from position `first` on
   */
  logits() {
    const n = this.#x.tansy_logits_count(this.#h) >>> 0;
    const at = this.#x.tansy_logits_at(this.#h) >>> 0;
    return {
      first: this.#x.tansy_logits_position(this.#h) >>> 0,
      rows: new Float32Array(this.#memory.buffer, n === 0 ? 0 : at, n * this.vocab),
    };
  }

  /* ---- sampling ---- */

  /** @param {number} seed up to 2^53 - 1 */
  seed(seed) {
    this.#x.tansy_sampler_seed(this.#h, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0);
  }

  /**
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @returns {number} token id
   */
  sample(options) {
    writeStruct(this.#view(), this.#io, SAMPLER, /** @type {Record<keyof typeof SAMPLER.fields, number>} */ (options));
    const id = this.#x.tansy_sample(this.#h, this.#io);
    if (id < 0) throw this.error(-id);
    return id;
  }

  /** @param {number} id */
  logprob(id) {
    return this.#x.tansy_logprob(this.#h, id);
  }

  #view() {
    return new DataView(this.#memory.buffer);
  }

  /** @param {number} at */
  #string(at) {
    const bytes = new Uint8Array(this.#memory.buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  }
}
