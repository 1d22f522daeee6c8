/**
 * reader.js: the header of a GGUF file: metadata, and type, shape and byte range of every tensor.
 *
 * Our own reader, and not @huggingface/gguf, which tests compare it with: that one reads zeros where a file ends too early
 * (30 bytes of a model count as one), and drops U+FEFF in front of a string, so that two tokens of Llama become one.
 * Sizes are checked before anything is allocated; at most the header is read.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

import { TansyError } from '../errors.js';
import { tensorType } from './types.js';

const MAX_HEADER_NBYTES = 512 * 2 ** 20;
const MAX_TENSORS = 1 << 17;
const MAX_KEYS = 1 << 16;
/** In all arrays together: a byte of the file becomes eight in a list. */
const MAX_VALUES = 1 << 24;
const MAX_DIMS = 4;
const CHUNK_NBYTES = 1 << 22;

/** @typedef {string | number | boolean | any[]} MetadataValue an integer beyond 2^53 is its nearest number */
/**
 * @typedef {object} GgufTensor
 * @property {string} name
 * @property {import('./types.js').TensorType} type
 * @property {number[]} shape outermost dimension first, as in safetensors (GGUF stores them the other way round)
 * @property {number} begin
 * @property {number} end of its bytes in the file
 */
/** @typedef {{version: number, metadata: Map<string, MetadataValue>, tensors: GgufTensor[]}} GgufHeader */

/** Little-endian values from the front of a file, which is read as far as it is needed. */
class Cursor {
  #fd;
  #path;
  #bytes = Buffer.alloc(0);
  #nRead = 0;
  #nValuesLeft = MAX_VALUES;
  at = 0;

  /** @param {number} fd @param {string} path */
  constructor(fd, path) {
    this.#fd = fd;
    this.#path = path;
    this.fileNbytes = fstatSync(fd).size;
  }

  /** @param {string} what @returns {TansyError} */
  corrupt(what) {
    return new TansyError('TANSY_CORRUPT', `${this.#path} contradicts the GGUF format (${what}); download it again.`);
  }

  /** @param {number} nbytes that must follow */
  need(nbytes) {
    const end = this.at + nbytes;
    if (end > this.fileNbytes) throw new TansyError('TANSY_TRUNCATED', `${this.#path} ends inside its header, after ${this.fileNbytes} bytes; download or copy it again.`);
    if (end <= this.#nRead) return;
    if (end > MAX_HEADER_NBYTES) throw this.corrupt('its header takes more than 512 MiB');
    const wanted = Math.min(this.fileNbytes, Math.max(end, this.#nRead + CHUNK_NBYTES));
    if (wanted > this.#bytes.length) {
      const larger = Buffer.alloc(Math.min(this.fileNbytes, Math.max(wanted, 2 * this.#bytes.length)));
      this.#bytes.copy(larger, 0, 0, this.#nRead);
      this.#bytes = larger;
    }
    while (this.#nRead < wanted) {
      const n = readSync(this.#fd, this.#bytes, this.#nRead, wanted - this.#nRead, this.#nRead);
      if (n === 0) throw new TansyError('TANSY_TRUNCATED', `${this.#path} became shorter while it was read; try again.`);
      this.#nRead += n;
    }
  }

  /** @param {number} nbytes @returns {number} where they begin in `bytes` */
  #take(nbytes) {
    this.need(nbytes);
    this.at += nbytes;
    return this.at - nbytes;
  }

  u8() {
    return this.#bytes[this.#take(1)];
  }
  u32() {
    const at = this.#take(4);
    return this.#bytes.readUInt32LE(at);
  }
  u64() {
    const at = this.#take(8);
    return Number(this.#bytes.readBigUInt64LE(at));
  }

  /** A count of things that take at least `least` bytes each. @param {string} what @param {number} limit @param {number} least */
  count(what, limit, least) {
    const n = this.u64();
    if (n > limit) throw this.corrupt(`${n} ${what}`);
    this.need(n * least);
    return n;
  }

  /** Exactly the characters of the file: a byte order mark is one of them. */
  string() {
    const n = this.count('bytes in a string', MAX_HEADER_NBYTES, 1);
    const at = this.#take(n);
    return this.#bytes.toString('utf8', at, at + n);
  }

  /** @param {number} type @param {number} depth @returns {MetadataValue} */
  value(type, depth = 0) {
    switch (type) {
      case 0: return this.u8();
      case 1: return (this.u8() << 24) >> 24;
      case 2: return this.u8() | (this.u8() << 8);
      case 3: return ((this.u8() | (this.u8() << 8)) << 16) >> 16;
      case 4: return this.u32();
      case 5: return this.u32() | 0;
      case 6: {
        const at = this.#take(4);
        return this.#bytes.readFloatLE(at);
      }
      case 7: return this.u8() !== 0;
      case 8: return this.string();
      case 9: {
        const inner = this.u32();
        if (depth > 2) throw this.corrupt('arrays in arrays in arrays');
        /* the least that a value of the type takes: an array's head is 12 bytes, a string's 8 */
        const n = this.count('values in an array', this.#nValuesLeft, [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8][inner] ?? 1);
        this.#nValuesLeft -= n;
        const values = [];
        for (let i = 0; i < n; i++) values.push(this.value(inner, depth + 1));
        return values;
      }
      case 10: return this.u64();
      case 11: {
        const at = this.#take(8);
        return Number(this.#bytes.readBigInt64LE(at));
      }
      case 12: {
        const at = this.#take(8);
        return this.#bytes.readDoubleLE(at);
      }
      default: throw this.corrupt(`metadata of type ${type}`);
    }
  }
}

/**
 * @param {Cursor} c
 * @param {string} path
 * @returns {GgufHeader}
 */
function parse(c, path) {
  if (c.fileNbytes < 4 || c.u32() !== 0x46554747)
    throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} is no GGUF file and no folder; give a Hugging Face checkpoint or a .gguf file.`);
  const version = c.u32();
  if (version !== 2 && version !== 3)
    throw new TansyError('TANSY_UNSUPPORTED', `${path} has GGUF version ${version}; versions 2 and 3, little-endian, can be read. Convert the model again.`);
  const nTensors = c.count('tensors', MAX_TENSORS, 0);
  const nKeys = c.count('metadata keys', MAX_KEYS, 0);
  const metadata = new Map();
  for (let i = 0; i < nKeys; i++) {
    const key = c.string();
    if (metadata.has(key)) throw c.corrupt(`metadata ${key} is there twice`);
    metadata.set(key, c.value(c.u32()));
  }
  const tensors = [];
  for (let i = 0; i < nTensors; i++) {
    const name = c.string();
    const nDims = c.u32();
    if (nDims < 1 || nDims > MAX_DIMS) throw c.corrupt(`tensor ${name} has ${nDims} dimensions`);
    const shape = Array.from({ length: nDims }, () => c.u64()).reverse();
    const type = tensorType(c.u32());
    tensors.push({ name, type, shape, begin: c.u64(), end: 0 });
  }
  const alignment = metadata.get('general.alignment') ?? 32;
  if (typeof alignment !== 'number' || !Number.isInteger(Math.log2(alignment)) || alignment < 1 || alignment > 2 ** 20) throw c.corrupt(`an alignment of ${alignment}`);
  const data = Math.ceil(c.at / alignment) * alignment;
  for (const tensor of tensors) place(tensor, data, c, path);
  return { version, metadata, tensors };
}

/**
 * Checks shape and offset of a tensor and makes them a byte range. A type that cannot be read has no known size; whoever
 * wants the tensor refuses it.
 * @param {GgufTensor} tensor
 * @param {number} data where tensors begin
 * @param {Cursor} c
 * @param {string} path
 */
function place(tensor, data, c, path) {
  const { name, type, shape } = tensor;
  const n = shape.reduce((product, size) => product * size, 1);
  if (!(n >= 1 && n <= 2 ** 48)) throw c.corrupt(`tensor ${name} has shape [${shape.join(', ')}]`);
  tensor.begin += data;
  tensor.end = tensor.begin;
  if (type.length === 0) return;
  if (shape[shape.length - 1] % type.length !== 0) throw c.corrupt(`a row of ${shape[shape.length - 1]} values of tensor ${name} is no whole number of ${type.name} blocks`);
  tensor.end += (n / type.length) * type.nbytes;
  if (tensor.end > c.fileNbytes)
    throw new TansyError('TANSY_TRUNCATED', `${path} has ${c.fileNbytes} bytes, but tensor ${name} would end at byte ${tensor.end}; download or copy the file again.`);
}

/** @param {string} path */
function open(path) {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw new TansyError('TANSY_IO', `${path} cannot be opened (${/** @type {NodeJS.ErrnoException} */ (error).code}); check the path and its permissions.`, {}, error);
  }
}

/**
 * @param {string} path
 * @returns {GgufHeader}
 */
export function readGguf(path) {
  const fd = open(path);
  try {
    return parse(new Cursor(fd, path), path);
  } finally {
    closeSync(fd);
  }
}

/**
 * The values of a small F32 tensor.
 * @param {string} path
 * @param {GgufTensor} tensor
 * @returns {number[]}
 */
export function readFloats(path, tensor) {
  if (tensor.type.name !== 'F32' || tensor.end - tensor.begin > 1 << 20)
    throw new TansyError('TANSY_UNSUPPORTED', `${path}: tensor ${tensor.name} should be a short list of F32, and is ${tensor.type.name}.`);
  const bytes = Buffer.alloc(tensor.end - tensor.begin);
  const fd = open(path);
  try {
    if (readSync(fd, bytes, 0, bytes.length, tensor.begin) !== bytes.length)
      throw new TansyError('TANSY_TRUNCATED', `${path} became shorter while it was read; try again.`);
  } finally {
    closeSync(fd);
  }
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}
