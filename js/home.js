/**
 * home.js: where a model lives. Plans a memory, makes an engine in it and fills it, as often as asked: the first time for
 * load(), later to move a live model to a memory of another size, with the weights read again from where they came.
 */
import { PAGE_NBYTES } from './abi.js';
import { decide } from './budget.js';
import { measureCosts } from './costs.js';
import { Engine, Planner, detailError } from './engine.js';
import { TansyError } from './errors.js';
import { loadChunks } from './loader.js';
import { crc32 } from './session.js';
import { readTensors } from './tensors.js';

/** @import { DecidedOptions } from './budget.js' */
/** @import { Source } from './source.js' */
/** @import { Plan } from './engine.js' */
/** @import { CheckedLoadOptions } from './options.js' */

/** More than the caches of most processors hold. */
const PROBE_NBYTES = 64 << 20;

/**
 * @typedef {object} Watch
 * @property {AbortSignal} [signal]
 * @property {(progress: import('./loader.js').Progress) => void} [onProgress]
 */

export class Home {
  #reopen;
  #module;

  /**
   * @param {object} of
   * @param {(() => Promise<Source>) | undefined} of.reopen undefined: the source can be read only once
   * @param {WebAssembly.Module} of.module
   * @param {Uint8Array} of.header
   * @param {string} of.name of the source
   * @param {CheckedLoadOptions} of.options
   */
  constructor({ reopen, module, header, name, options }) {
    this.#reopen = reopen;
    this.#module = module;
    /* a copy: `header` may be a view of much more */
    this.header = header.slice();
    this.name = name;
    const { signal: _signal, onProgress: _onProgress, ...lasting } = options;
    /** as given to load(), then as changed since
     * @type {CheckedLoadOptions} */
    this.options = lasting;
    this.fingerprint = crc32(this.header);
  }

  /**
   * @param {CheckedLoadOptions} options
   * @returns {Promise<{plan: Plan, options: DecidedOptions}>}
   */
  async plan(options) {
    /* the planner's memory is gone again when the engine's is made */
    const { status, detail, ...made } = decide(await Planner.create(this.#module), this.header, options);
    if (status !== 0) throw detailError(status, detail, this.name, made.options);
    return made;
  }

  /**
   * The source again, if it is still the same file.
   * @param {AbortSignal} [signal]
   * @returns {Promise<Source>}
   */
  async open(signal) {
    if (this.#reopen === undefined)
      throw new TansyError('TANSY_SOURCE', `${this.name} can be read only once, so the model cannot move to another memory. Load it from a URL, a file or bytes.`);
    const source = await this.#reopen();
    try {
      const { header } = this;
      let same = 0;
      for await (const piece of source.read(0, header.length, signal)) for (const byte of piece) if (byte === header[same]) same++;
      if (same !== header.length) throw new TansyError('TANSY_CHANGED', `${this.name} has changed since it was loaded; load it again.`);
      return source;
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /**
   * @param {{plan: Plan, options: DecidedOptions}} of plan()
   */
  makeEngine({ plan, options }) {
    return Engine.create(this.#module, this.header, plan, this.name, options);
  }

  /**
   * @param {Engine} engine
   * @param {Source} source
   * @param {Watch & {front?: Uint8Array, attachments?: import('./loader.js').AttachmentPlace[], onChunk?: import('./loader.js').OnChunk}} how
   */
  fill(engine, source, { front = this.header, attachments = [], ...watch }) {
    return loadChunks({ sink: engine, source, front, fileNbytes: engine.plan.fileNbytes, attachments, ...watch });
  }

  /**
   * What a weight costs on this device, from the first layer of this model in the smallest memory.
   * @param {Source} source
   * @param {Uint8Array} front
   * @param {AbortSignal} [signal]
   * @returns {Promise<import('./costs.js').Costs>}
   */
  async measureCosts(source, front, signal) {
    if (!source.rereadable)
      throw new TansyError('TANSY_SOURCE', `${this.name} can be read only once; minTokensPerSecond must try a layer first. Load from a URL, a file or bytes.`);
    const made = await this.plan({ ...this.options, residency: /** @type {const} */ ('ans'), threads: 1, targetNsPerToken: 0 });
    /* room beyond the plan, to read weights from memory as a token does: not more than the model's own, nor than the budget */
    const { plan } = made;
    const room = Math.min(PROBE_NBYTES, plan.ansNbytes, plan.budgetNbytes - plan.startNbytes);
    const spare = Math.max(0, Math.floor(room / PAGE_NBYTES) * PAGE_NBYTES);
    const startNbytes = plan.startNbytes + spare;
    const engine = await this.makeEngine({ ...made, plan: { ...plan, startNbytes, totalNbytes: Math.max(plan.totalNbytes, startNbytes) } });
    /* tensors lie one after the other at the file's end */
    let at = engine.plan.fileNbytes - readTensors(this.header).reduce((sum, { nbytes }) => sum + nbytes, 0);
    for (const { layer, coded, nbytes } of readTensors(this.header)) {
      if (coded && layer === 0) break;
      at += nbytes;
    }
    let first = 0;
    while (first + 1 < engine.nChunks && engine.chunkOffset(first + 1) <= at) first++;
    for (let i = 0; i < engine.nChunks; i++) {
      const chunk = (first + i) % engine.nChunks;
      const part = { nChunks: 1, chunkOffset: () => engine.chunkOffset(chunk), chunkNbytes: () => engine.chunkNbytes(chunk) };
      const calls = { chunkBegin: () => engine.chunkBegin(chunk), chunkView: (/** @type {number} */ _, /** @type {number} */ slot) => engine.chunkView(chunk, slot), chunkEnd: () => engine.chunkEnd(chunk), chunkAbort: () => engine.chunkAbort(chunk) };
      const sink = { ...part, ...calls, error: (/** @type {number} */ status) => engine.error(status) };
      await loadChunks({ sink, source, front, fileNbytes: engine.plan.fileNbytes, attachments: [], signal });
      const costs = measureCosts(engine);
      if (costs !== undefined) return costs;
    }
    throw new TansyError('TANSY_UNSUPPORTED', `${this.name} has no layer whose speed could be measured; leave minTokensPerSecond out.`);
  }
}
