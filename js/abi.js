/**
 * abi.js: the structs of src/tansy.h as they lie in the heap. A test compares every offset with the header's comments.
 */

/** @typedef {'u32' | 'f32' | 'f64'} FieldType */
/**
 * @template {string} Name
 * @typedef {{nbytes: number, fields: Readonly<Record<Name, readonly [FieldType, number]>>}} Struct
 */

/** struct tansy_detail */
export const DETAIL = /** @type {const} */ ({
  nbytes: 48,
  fields: {
    status: ['u32', 0],
    tensor: ['u32', 4],
    role: ['u32', 8],
    layer: ['u32', 12],
    nRows: ['u32', 16],
    nCols: ['u32', 20],
    expectedNRows: ['u32', 24],
    expectedNCols: ['u32', 28],
    offset: ['f64', 32],
    neededNbytes: ['f64', 40],
  },
});

/** struct tansy_options */
export const OPTIONS = /** @type {const} */ ({
  nbytes: 64,
  fields: {
    budgetNbytes: ['f64', 0],
    context: ['u32', 8],
    nThreads: ['u32', 12],
    kvForm: ['u32', 16],
    residency: ['u32', 20],
    maxBatch: ['u32', 24],
    nLogits: ['u32', 28],
    nStaging: ['u32', 32],
    staticNbytes: ['u32', 36],
    costAns: ['f32', 40],
    costPacked: ['f32', 44],
    costInt8: ['f32', 48],
    targetNsPerToken: ['f32', 52],
    kernels: ['u32', 56],
    costLayer: ['f32', 60],
  },
});

/** struct tansy_plan */
export const PLAN = /** @type {const} */ ({
  nbytes: 232,
  fields: {
    totalNbytes: ['f64', 0],
    neededNbytes: ['f64', 8],
    arenaNbytes: ['f64', 16],
    staticNbytes: ['f64', 24],
    tablesNbytes: ['f64', 32],
    ansNbytes: ['f64', 40],
    packedNbytes: ['f64', 48],
    int8Nbytes: ['f64', 56],
    vectorsNbytes: ['f64', 64],
    kvNbytes: ['f64', 72],
    scratchNbytes: ['f64', 80],
    stagingNbytes: ['f64', 88],
    ioNbytes: ['f64', 96],
    fileNbytes: ['f64', 104],
    predictedNs: ['f64', 112],
    context: ['u32', 120],
    modelContext: ['u32', 124],
    nTensors: ['u32', 128],
    nMatrices: ['u32', 132],
    nPacked: ['u32', 136],
    nInt8: ['u32', 140],
    nChunks: ['u32', 144],
    chunkNbytes: ['u32', 148],
    nThreads: ['u32', 152],
    maxBatch: ['u32', 156],
    nLogits: ['u32', 160],
    nStaging: ['u32', 164],
    vocab: ['u32', 168],
    nLayers: ['u32', 172],
    startNbytes: ['f64', 224],
  },
});

/** struct tansy_stats */
export const STATS = /** @type {const} */ ({
  nbytes: 128,
  fields: {
    totalNbytes: ['f64', 0],
    staticNbytes: ['f64', 8],
    tablesNbytes: ['f64', 16],
    ansNbytes: ['f64', 24],
    packedNbytes: ['f64', 32],
    int8Nbytes: ['f64', 40],
    vectorsNbytes: ['f64', 48],
    kvNbytes: ['f64', 56],
    scratchNbytes: ['f64', 64],
    stagingNbytes: ['f64', 72],
    ioNbytes: ['f64', 80],
    loadedNbytes: ['f64', 88],
    payloadNbytes: ['f64', 96],
    decodedNbytes: ['f64', 104],
    position: ['u32', 112],
    context: ['u32', 116],
    nPacked: ['u32', 120],
    nInt8: ['u32', 124],
  },
});

/** struct tansy_sampler */
export const SAMPLER = /** @type {const} */ ({
  nbytes: 32,
  fields: {
    temperature: ['f32', 0],
    topK: ['u32', 4],
    topP: ['f32', 8],
    minP: ['f32', 12],
    repeatPenalty: ['f32', 16],
    repeatLastN: ['u32', 20],
    presencePenalty: ['f32', 24],
    frequencyPenalty: ['f32', 28],
  },
});

/** struct tansy_attachment */
export const ATTACHMENT = /** @type {const} */ ({
  nbytes: 32,
  fields: {
    nameAt: ['u32', 0],
    nameNbytes: ['u32', 4],
    encoding: ['u32', 8],
    fileOffset: ['f64', 16],
    nbytes: ['u32', 24],
    rawNbytes: ['u32', 28],
  },
});

/** offset of `detail` in struct tansy_plan */
export const PLAN_DETAIL_AT = 176;

export const ABI_VERSION = 1;
export const PAGE_NBYTES = 65536;
export const NO_TENSOR = 0xffffffff;
export const KV_FORMS = /** @type {const} */ ({ int8: 0, f32: 1, f16: 2 });
export const RESIDENCIES = /** @type {const} */ ({ auto: 0, ans: 1, packed: 2, int8: 3 });

/** Numbers of src/format/config_keys.h that JavaScript uses, and how to read them. */
export const CONFIG_KEYS = /** @type {const} */ ({
  family: 1,
  vocab: 2,
  hidden: 3,
  intermediate: 4,
  layers: 5,
  heads: 6,
  kvHeads: 7,
  headDim: 8,
  context: 9,
  tied: 14,
  window: 18,
  bos: 25,
  eos: 26,
  eos2: 27,
  eos3: 28,
  eos4: 29,
  eos5: 30,
  addBos: 31,
});

/**
 * Reads a struct.
 * @template {string} Name
 * @param {DataView} view of the whole memory
 * @param {number} at
 * @param {Struct<Name>} struct
 * @returns {Record<Name, number>}
 */
export function readStruct(view, at, struct) {
  const out = /** @type {Record<Name, number>} */ ({});
  for (const name of /** @type {Name[]} */ (Object.keys(struct.fields))) {
    const [type, offset] = struct.fields[name];
    if (type === 'u32') out[name] = view.getUint32(at + offset, true);
    else if (type === 'f32') out[name] = view.getFloat32(at + offset, true);
    else out[name] = view.getFloat64(at + offset, true);
  }
  return out;
}

/**
 * Writes a struct; fields left out are 0.
 * @template {string} Name
 * @param {DataView} view of the whole memory
 * @param {number} at
 * @param {Struct<Name>} struct
 * @param {Partial<Record<Name, number>>} values
 */
export function writeStruct(view, at, struct, values) {
  new Uint8Array(view.buffer, at, struct.nbytes).fill(0);
  for (const name of /** @type {Name[]} */ (Object.keys(struct.fields))) {
    const [type, offset] = struct.fields[name];
    const value = values[name] ?? 0;
    if (type === 'u32') view.setUint32(at + offset, value, true);
    else if (type === 'f32') view.setFloat32(at + offset, value, true);
    else view.setFloat64(at + offset, value, true);
  }
}
