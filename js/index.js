/**
 * tansy: runs language models from ANS-compressed weights, in a heap of exactly the size the plan says.
 *
 *   import { load } from 'tansy';
 *   const model = await load('model.tansy', { memoryBudget: '16MB' });
 *   for await (const text of model.generate('Once upon a time')) process.stdout.write(text);
 *   model.dispose();
 *
 * This file and what it imports run unchanged in Node and in a browser's worker.
 */
import { Arrival } from './arrival.js';
import { attachmentText, checkAttachments } from './attachments.js';
import { decide, missingNbytes } from './budget.js';
import { shareCosts } from './costs.js';
import { Planner, detailError } from './engine.js';
import { throwIfAborted } from './errors.js';
import { completeHeader, peekFileNbytes, readFront } from './header.js';
import { Home } from './home.js';
import { compileModule } from './instantiate.js';
import { lengthError } from './loader.js';
import { Model } from './model.js';
import { checkLoadOptions } from './options.js';
import { openSource } from './source.js';
import { readTensors } from './tensors.js';
import { chooseThreads, isThreaded } from './threads.js';

export { TansyError } from './errors.js';
export { memoryCurve } from './memory_curve.js';
export { Generation, Model } from './model.js';
export { pickVariant, supports } from './variants.js';

/** @typedef {import('./options.js').LoadOptions} LoadOptions */
/** @typedef {import('./options.js').GenerateOptions} GenerateOptions */
/** @typedef {import('./options.js').SamplerOptions} SamplerOptions */
/** @typedef {import('./source.js').SourceInput} SourceInput */
/** @typedef {import('./source.js').Source} Source */
/** @typedef {import('./engine.js').Engine} Engine */
/** @typedef {import('./loader.js').Progress} Progress */
/** @typedef {import('./memory_curve.js').CurvePoint} CurvePoint */
/** @typedef {import('./model.js').ModelStats} ModelStats */
/** @typedef {import('./model.js').ModelConfig} ModelConfig */
/** @typedef {import('./chat.js').ChatMessage} ChatMessage */
/** @typedef {import('./http_source.js').RetryOptions} RetryOptions */
/** @typedef {import('./model_info.js').MemoryByKind} MemoryByKind */
/** @typedef {import('./tensors.js').TensorInfo} TensorInfo */
/** @typedef {import('./model.js').Goal} Goal */
/** @typedef {import('./steer.js').GeneratedLogprob} GeneratedLogprob */
/** @typedef {import('./schema/response_format.js').ResponseFormat} ResponseFormat */
/** @typedef {import('./openai/types.js').ChatBody} ChatBody */
/** @typedef {import('./openai/types.js').CompletionBody} CompletionBody */
/** @typedef {import('./openai/types.js').ChatCompletion} ChatCompletion */
/** @typedef {import('./openai/types.js').ChatCompletionChunk} ChatCompletionChunk */
/** @typedef {import('./openai/types.js').Completion} Completion */
/** @typedef {import('./openai/types.js').Usage} Usage */

const OVER_BUDGET = 9; /* TANSY_ERR_OVER_BUDGET */

/**
 * Loads a model. Nothing but the file's header is read before the plan says that the model fits.
 * @param {SourceInput} input a URL, a path (Node), a File or Blob, an ArrayBuffer or typed array, a stream, or a Source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(input, options = {}) {
  const checked = checkLoadOptions('load', options);
  const { signal } = checked;
  throwIfAborted(signal);
  const source = await openSource(input, checked.retry);
  /** @type {Promise<unknown> | undefined} with `early`: the source is in use until then */
  let used;
  try {
    let { module, front, header, granted, status, detail, ...made } = await makePlan(source, checked);
    if (status !== 0) throw detailError(status, detail, source.name, made.options);
    const { plan } = made;
    if (source.size !== undefined && source.size !== plan.fileNbytes) throw lengthError(source, plan.fileNbytes);
    const home = new Home({ reopen: reopener(input, source, checked), module, header, name: source.name, options: granted });
    const { minTokensPerSecond } = checked;
    if (minTokensPerSecond !== undefined) {
      const costs = await home.measureCosts(source, front, signal);
      granted = { ...granted, costs: shareCosts(costs, plan.nThreads), targetNsPerToken: 1e9 / minTokensPerSecond };
      home.options = { ...home.options, costs: granted.costs, targetNsPerToken: granted.targetNsPerToken };
      made = await home.plan(granted);
    }
    const engine = await home.makeEngine(made);
    const { model, loading } = await begin(home, engine, source, front, checked);
    if (checked.early) used = loading.catch(() => {});
    if (minTokensPerSecond === undefined) return model;
    await model.loaded;
    try {
      await model.reachSpeed(minTokensPerSecond, { signal });
    } catch (error) {
      model.dispose();
      throw error;
    }
    if (model.goal?.reached === false)
      console.warn(`tansy generates ${model.goal.tokensPerSecond.toPrecision(3)} tokens a second here, not the ${minTokensPerSecond} asked for, with all the memory that helps.`);
    return model;
  } finally {
    if (used === undefined) await source.close();
    else void used.then(() => source.close());
  }
}

/**
 * Starts loading; waits for the end, or with `early` for what a prompt needs first.
 * @param {Home} home
 * @param {Engine} engine
 * @param {Source} source
 * @param {Uint8Array} front
 * @param {import('./options.js').CheckedLoadOptions} options
 */
async function begin(home, engine, source, front, { signal, onProgress, early }) {
  const places = engine.attachments(home.header);
  try {
    checkAttachments(places, source.name);
  } catch (error) {
    await engine.dispose();
    throw error;
  }
  const arrival = new Arrival();
  const missing = new Set();
  /* attachments lie one after the other at the payload's beginning */
  const end = places.reduce((most, { offset, nbytes }) => Math.max(most, offset + nbytes), 0);
  for (let i = 0; i < engine.nChunks && engine.chunkOffset(i) < end; i++) missing.add(i);
  const stopLoading = new AbortController();
  const both = signal ? AbortSignal.any([signal, stopLoading.signal]) : stopLoading.signal;
  /** @type {Uint8Array[]} */
  let bytes = [];
  let attachmentsCame = () => {};
  /** @type {Promise<void>} */
  const ready = new Promise((resolve) => (attachmentsCame = () => resolve()));
  if (missing.size === 0) attachmentsCame();
  const onChunk = (/** @type {number} */ i, /** @type {Uint8Array[]} */ copies) => {
    bytes = copies;
    if (missing.delete(i) && missing.size === 0) attachmentsCame();
    arrival.wake();
  };
  const loading = home.fill(engine, source, { front, attachments: places, signal: both, onProgress, onChunk }).then((copies) => {
    bytes = copies;
  });
  loading.then(
    () => arrival.end(),
    (error) => arrival.end(error),
  );
  try {
    await (early ? Promise.race([ready, loading]) : loading);
    /** @type {Map<string, string>} */
    const attachments = new Map();
    for (const [i, place] of places.entries()) attachments.set(place.name, await attachmentText(bytes[i] ?? new Uint8Array(place.nbytes), place));
    const model = new Model(engine, attachments, readTensors(home.header), { home, arrival, loaded: loading, stopLoading });
    return { model, loading };
  } catch (error) {
    stopLoading.abort(error);
    await loading.catch(() => {});
    await engine.dispose();
    throw error;
  }
}

/**
 * How to read the same source once more.
 * @param {SourceInput} input
 * @param {Source} source
 * @param {import('./options.js').CheckedLoadOptions} options
 */
function reopener(input, source, { retry }) {
  if (source === input) return source.reopen?.bind(source);
  return source.rereadable ? () => openSource(input, retry) : undefined;
}

/**
 * @typedef {object} Fit
 * @property {boolean} ok the model fits
 * @property {number} bytesNeeded smallest memory that would do, with a short context where none is asked for
 * @property {number} bytesPlanned memory that load() would take with these options; 0 when it does not fit
 * @property {number} bytesMissing what the budget is short; 0 when it fits
 * @property {number} bytesMin what `memoryBudget: 'min'` takes for this context; 0 when it does not fit
 * @property {number} bytesMax with so many all weights are packed: tokens are generated no faster with more; 0 when it does not fit
 * @property {number} fileBytes size of the download
 * @property {number} contextSize tokens
 * @property {number} modelContext tokens the model was made for
 * @property {Partial<import('./model.js').MemoryByKind>} memory bytes by kind, when it fits
 */

/**
 * Whether a model would fit, from its header alone.
 * @param {SourceInput} input as for load(); a stream is used up by this
 * @param {LoadOptions} [options]
 * @returns {Promise<Fit>}
 */
export async function canRun(input, options = {}) {
  const checked = checkLoadOptions('canRun', options);
  throwIfAborted(checked.signal);
  const source = await openSource(input, checked.retry);
  try {
    const { status, plan, detail, options: decided } = await makePlan(source, checked);
    if (status !== 0 && status !== OVER_BUDGET) throw detailError(status, detail, source.name, decided);
    const ok = status === 0;
    const needed = ok ? plan.neededNbytes : detail.neededNbytes;
    return {
      ok,
      bytesNeeded: needed,
      bytesPlanned: ok ? plan.totalNbytes : 0,
      bytesMissing: ok ? 0 : missingNbytes(needed, decided),
      bytesMin: ok ? plan.minNbytes : 0,
      bytesMax: ok ? plan.maxNbytes : 0,
      fileBytes: plan.fileNbytes,
      contextSize: plan.context,
      modelContext: plan.modelContext,
      memory: ok
        ? {
            static: plan.staticNbytes,
            tables: plan.tablesNbytes,
            ans: plan.ansNbytes,
            packed: plan.packedNbytes,
            int8: plan.int8Nbytes,
            vectors: plan.vectorsNbytes,
            kv: plan.kvNbytes,
            scratch: plan.scratchNbytes,
            staging: plan.stagingNbytes,
            io: plan.ioNbytes,
          }
        : {},
    };
  } finally {
    await source.close();
  }
}

/**
 * @param {Source} source
 * @param {import('./options.js').CheckedLoadOptions} options
 */
async function makePlan(source, options) {
  const { signal } = options;
  const start = await readFront(source, signal);
  const threads = chooseThreads(options.threads, peekFileNbytes(start));
  const module = await compileModule(options.wasmUrl, options.variant, threads > 1, signal);
  const planner = await Planner.create(module);
  const { front, headerNbytes } = await completeHeader(source, planner, start, signal);
  const header = front.subarray(0, headerNbytes);
  const granted = { ...options, threads: isThreaded(module) ? threads : 1 };
  return { module, front, header, granted, ...decide(planner, header, granted) };
}
