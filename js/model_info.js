/** model_info.js: what a model says of itself: its config, where its bytes are, how fast it was. */

/** Forms of a matrix in the heap, by the planner's numbers. */
const FORMS = Object.freeze(['ans', 'packed', 'int8']);

/**
 * @typedef {object} ModelConfig
 * @property {number} vocab
 * @property {number} hidden
 * @property {number} intermediate
 * @property {number} layers
 * @property {number} heads
 * @property {number} kvHeads
 * @property {number} headDim
 * @property {number} modelContext tokens the model was made for
 * @property {boolean} tied the head is the embedding
 * @property {number | undefined} bos
 * @property {number[]} eos ids that end a text
 * @property {boolean} addBos texts begin with `bos`
 */

/**
 * @typedef {object} MemoryByKind bytes of the heap
 * @property {number} static the module's data and stack, and the file's header
 * @property {number} tables
 * @property {number} ans weights that are ANS-coded
 * @property {number} packed
 * @property {number} int8
 * @property {number} vectors
 * @property {number} kv
 * @property {number} scratch activations, logits, decode buffers
 * @property {number} staging chunks under way
 * @property {number} io
 */

/**
 * @typedef {object} ModelStats
 * @property {number} heapBytes bytes of the wasm memory now; it grows with the conversation
 * @property {number} heapLimitBytes what it grows to when the context is full
 * @property {number} budgetBytes what it may take: as asked for, or what was decided
 * @property {number} minBytes what `'min'` takes for this context
 * @property {number} maxBytes with so many all weights are packed: tokens are generated no faster with more
 * @property {MemoryByKind} memory where they go; adds up to heapBytes but for rounding to pages
 * @property {number} decodedBytes most bytes that ever hold decoded weights of ANS-coded matrices
 * @property {number} fileBytes
 * @property {number} bitsPerWeight every byte of the file, spread over the model's parameters
 * @property {number} contextSize tokens
 * @property {number} position tokens in the KV cache
 * @property {number} plannedTokS what the planner expects, at its costs of a weight and of a layer beside its weights
 * @property {string} variant kernels in use: simd128, relaxed
 * @property {number} threads
 * @property {number} nMatrices
 * @property {number} nPacked of these
 * @property {number} nInt8
 * @property {number} prefillTokens of the last call, evaluated for its prompt
 * @property {number} prefillTokS
 * @property {number} decodeTokens of the last call, generated after the first
 * @property {number} decodeTokS
 * @property {number} draftedTokens of the last call, guessed from the text so far
 * @property {number} acceptedTokens of these, as the model went on
 */

/**
 * @param {readonly import('./tensors.js').TensorInfo[]} tensors
 * @param {Uint8Array} forms
 */
export function withForms(tensors, forms) {
  return Object.freeze(tensors.map((tensor, i) => ({ ...tensor, form: FORMS[forms[i]] ?? 'vector' })));
}

/**
 * @param {import('./engine.js').Engine} engine
 * @returns {ModelConfig}
 */
export function readConfig(engine) {
  /** @param {keyof typeof import('./abi.js').CONFIG_KEYS} key */
  const value = (key) => engine.configValue(key);
  /* ids are stored plus one: 0 is none */
  const eos = [value('eos'), value('eos2'), value('eos3'), value('eos4'), value('eos5')].filter((id) => id > 0).map((id) => id - 1);
  return {
    vocab: value('vocab'),
    hidden: value('hidden'),
    intermediate: value('intermediate'),
    layers: value('layers'),
    heads: value('heads'),
    kvHeads: value('kvHeads'),
    headDim: value('headDim'),
    modelContext: value('context'),
    tied: value('tied') !== 0,
    bos: value('bos') > 0 ? value('bos') - 1 : undefined,
    eos,
    addBos: value('addBos') !== 0,
  };
}

/**
 * @param {import('./engine.js').Engine} engine
 * @param {number} nParameters
 * @param {import('./generation.js').Timing} timing of the last call
 * @returns {ModelStats}
 */
export function readStats(engine, nParameters, timing) {
  const s = engine.stats();
  const { plan } = engine;
  return {
    heapBytes: engine.heapNbytes,
    heapLimitBytes: plan.totalNbytes,
    budgetBytes: plan.budgetNbytes,
    minBytes: plan.minNbytes,
    maxBytes: plan.maxNbytes,
    memory: {
      static: s.staticNbytes,
      tables: s.tablesNbytes,
      ans: s.ansNbytes,
      packed: s.packedNbytes,
      int8: s.int8Nbytes,
      vectors: s.vectorsNbytes,
      kv: s.kvNbytes,
      scratch: s.scratchNbytes,
      staging: s.stagingNbytes,
      io: s.ioNbytes,
    },
    decodedBytes: s.decodedNbytes,
    fileBytes: plan.fileNbytes,
    bitsPerWeight: (plan.fileNbytes * 8) / nParameters,
    contextSize: s.context,
    position: s.position,
    plannedTokS: perSecond(1, plan.predictedNs / 1e6),
    variant: engine.kernels,
    threads: engine.nThreads,
    nMatrices: plan.nMatrices,
    nPacked: s.nPacked,
    nInt8: s.nInt8,
    prefillTokens: timing.prefillTokens,
    prefillTokS: perSecond(timing.prefillTokens, timing.prefillMs),
    decodeTokens: timing.decodeTokens,
    decodeTokS: perSecond(timing.decodeTokens, timing.decodeMs),
    draftedTokens: timing.draftedTokens,
    acceptedTokens: timing.acceptedTokens,
  };
}

/**
 * @param {number} n
 * @param {number} ms
 */
function perSecond(n, ms) {
  return n > 0 && ms > 0 ? (n / ms) * 1000 : 0;
}
