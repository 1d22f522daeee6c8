// gguf.js: writes small GGUF files, from nothing but the description of the format: header, blocks of every supported type
// and their values, and the changes that converters make to Hugging Face tensors.
import { writeFileSync } from 'node:fs';

export const TYPE_IDS = {
  F32: 0, F16: 1, BF16: 30, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14, IQ4_NL: 20, IQ4_XS: 23,
};
const BLOCKS = {
  F32: [1, 4], F16: [1, 2], BF16: [1, 2], Q4_0: [32, 18], Q4_1: [32, 20], Q5_0: [32, 22], Q5_1: [32, 24], Q8_0: [32, 34],
  Q2_K: [256, 84], Q3_K: [256, 110], Q4_K: [256, 144], Q5_K: [256, 176], Q6_K: [256, 210], IQ4_NL: [32, 18], IQ4_XS: [256, 136],
};
/** Where halves lie that scale a block. @type {Record<string, number[]>} */
const HALVES = {
  Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2], Q8_0: [0], Q2_K: [80, 82], Q3_K: [108], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208], IQ4_NL: [0], IQ4_XS: [0],
};
/** What the nibbles of IQ4 stand for. */
const IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** @typedef {keyof typeof TYPE_IDS} TypeName */
/** @typedef {{name: string, type: TypeName | number, shape: number[], bytes: Buffer, offset?: number}} Tensor `shape`: outermost first */

/** @param {number} value */
const u32 = (value) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(value >>> 0);
  return b;
};
/** @param {number | bigint} value */
export const u64 = (value) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  return b;
};
/** @param {number} value */
const f32 = (value) => {
  const b = Buffer.alloc(4);
  b.writeFloatLE(value);
  return b;
};
/** @param {string} text */
export const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

/** A metadata value with its type; objects {i32: [..]}, {f32: [..]} are arrays of that type. @param {any} value @returns {Buffer} */
export function typed(value) {
  if (typeof value === 'string') return Buffer.concat([u32(8), string(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(7), Buffer.from([Number(value)])]);
  if (typeof value === 'number') return Number.isInteger(value) ? Buffer.concat([u32(4), u32(value)]) : Buffer.concat([u32(6), f32(value)]);
  if (value.f32 !== undefined && !Array.isArray(value.f32)) return Buffer.concat([u32(6), f32(value.f32)]);
  if (Array.isArray(value)) return Buffer.concat([u32(9), u32(8), u64(value.length), ...value.map(string)]);
  if (value.i32 !== undefined) return Buffer.concat([u32(9), u32(5), u64(value.i32.length), ...value.i32.map(u32)]);
  if (value.f32 !== undefined) return Buffer.concat([u32(9), u32(6), u64(value.f32.length), ...value.f32.map(f32)]);
  if (value.bool !== undefined) return Buffer.concat([u32(9), u32(7), u64(value.bool.length), Buffer.from(value.bool.map(Number))]);
  return value.raw;
}

/**
 * @param {Record<string, any>} metadata
 * @param {Tensor[]} tensors
 * @param {{version?: number, alignment?: number}} [options]
 */
export function gguf(metadata, tensors, { version = 3, alignment } = {}) {
  const all = alignment === undefined ? metadata : { ...metadata, 'general.alignment': alignment };
  const align = (/** @type {number} */ n) => Math.ceil(n / (alignment ?? 32)) * (alignment ?? 32);
  const parts = [Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(Object.keys(all).length)];
  for (const [key, value] of Object.entries(all)) parts.push(string(key), typed(value));
  let at = 0;
  for (const t of tensors) {
    const dims = [...t.shape].reverse();
    const type = typeof t.type === 'number' ? t.type : TYPE_IDS[t.type];
    parts.push(string(t.name), u32(dims.length), ...dims.map(u64), u32(type), u64(t.offset ?? at));
    at = align(at + t.bytes.length);
  }
  const header = Buffer.concat(parts);
  const body = tensors.map((t) => Buffer.concat([t.bytes, Buffer.alloc(align(t.bytes.length) - t.bytes.length)]));
  return Buffer.concat([header, Buffer.alloc(align(header.length) - header.length), ...body]);
}

/** @param {string} path @param {Parameters<typeof gguf>} args */
export const writeGguf = (path, ...args) => writeFileSync(path, gguf(...args));

/* ---- blocks ---- */

/** @param {number} h a binary16 */
export function half(h) {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  return sign * (exponent === 0 ? (h & 1023) * 2 ** -24 : (1 + (h & 1023) / 1024) * 2 ** (exponent - 15));
}

/** Random valid blocks of a type for n values: every bit is random, but scales stay around 2^-10. @param {TypeName} type @param {number} n @param {() => number} next normal numbers */
export function randomBlocks(type, n, next) {
  const [length, nbytes] = BLOCKS[type];
  const bytes = Buffer.alloc((n / length) * nbytes);
  const random = () => Math.floor(Math.abs(next()) * 1e6) & 255;
  if (type === 'F32') for (let i = 0; i < n; i++) bytes.writeFloatLE(0.05 * next(), 4 * i);
  else for (let i = 0; i < bytes.length; i++) bytes[i] = random();
  const scale = () => ((4 + (random() & 3)) << 10) | (random() << 2) | (random() & 3) | 0; // 2^-11 .. 2^-8
  for (let at = 0; at < bytes.length; at += nbytes) {
    if (type === 'F16') bytes.writeUInt16LE((scale() + (4 << 10)) | ((random() & 1) << 15), at);
    if (type === 'BF16') bytes.writeUInt16LE(((random() & 1) << 15) | ((118 + (random() & 7)) << 7) | (random() & 127), at);
    /* where integers of groups multiply it, it is smaller */
    for (const offset of HALVES[type] ?? []) bytes.writeUInt16LE(scale() - (/^(Q[36]_K|IQ4_XS)$/.test(type) ? 3 << 10 : 0), at + offset);
  }
  return bytes;
}

const f = Math.fround;

/** Bits [at, at + n) of bytes, the lowest bit of the first byte being 0. @param {Buffer} bytes @param {number} at @param {number} n */
function bits(bytes, at, n) {
  let value = 0;
  for (let i = 0; i < n; i++) value |= ((bytes[(at + i) >> 3] >> ((at + i) & 7)) & 1) << i;
  return value;
}

/** Value i of a block, by the bit where each of its parts lies. @param {TypeName} type @param {Buffer} b @param {number} i @returns {number} */
function blockValue(type, b, i) {
  switch (type) {
    case 'F32': return b.readFloatLE(0);
    case 'F16': return half(b.readUInt16LE(0));
    case 'BF16': return Buffer.from([0, 0, b[0], b[1]]).readFloatLE(0);
    case 'Q8_0': return f(half(b.readUInt16LE(0)) * b.readInt8(2 + i));
    case 'Q4_0': return f(half(b.readUInt16LE(0)) * (bits(b, 16 + 8 * (i % 16) + (i < 16 ? 0 : 4), 4) - 8));
    case 'Q4_1': return f(f(half(b.readUInt16LE(0)) * bits(b, 32 + 8 * (i % 16) + (i < 16 ? 0 : 4), 4)) + half(b.readUInt16LE(2)));
    case 'Q5_0': return f(half(b.readUInt16LE(0)) * (bits(b, 48 + 8 * (i % 16) + (i < 16 ? 0 : 4), 4) + 16 * bits(b, 16 + i, 1) - 16));
    case 'Q5_1': return f(f(half(b.readUInt16LE(0)) * (bits(b, 64 + 8 * (i % 16) + (i < 16 ? 0 : 4), 4) + 16 * bits(b, 32 + i, 1))) + half(b.readUInt16LE(2)));
    case 'IQ4_NL': return f(half(b.readUInt16LE(0)) * IQ4[bits(b, 16 + 8 * (i % 16) + (i < 16 ? 0 : 4), 4)]);
    case 'IQ4_XS': {
      const group = i >> 5;
      const scale = bits(b, 32 + 4 * group, 4) + 16 * bits(b, 16 + 2 * group, 2) - 32;
      return f(f(half(b.readUInt16LE(0)) * scale) * IQ4[bits(b, 64 + 128 * group + 8 * (i % 16) + (i % 32 < 16 ? 0 : 4), 4)]);
    }
    case 'Q2_K': {
      const group = i >> 4;
      const q = bits(b, 128 + 256 * (i >> 7) + 8 * (i & 31) + 2 * ((i >> 5) & 3), 2);
      const [d, m] = [half(b.readUInt16LE(80)), half(b.readUInt16LE(82))];
      return f(f(f(d * bits(b, 8 * group, 4)) * q) - f(m * bits(b, 8 * group + 4, 4)));
    }
    case 'Q3_K': {
      const group = i >> 4;
      // bytes 96..103: low nibbles of scales 0..7, high ones of 8..15; bytes 104..107: 2 high bits of scales k, k + 4, k + 8, k + 12
      const scale = bits(b, 768 + 8 * (group & 7) + 4 * (group >> 3), 4) + 16 * bits(b, 832 + 8 * (group & 3) + 2 * (group >> 2), 2) - 32;
      const q = bits(b, 256 + 256 * (i >> 7) + 8 * (i & 31) + 2 * ((i >> 5) & 3), 2) + 4 * bits(b, 8 * (i & 31) + (i >> 5), 1) - 4;
      return f(f(half(b.readUInt16LE(108)) * scale) * q);
    }
    case 'Q4_K':
    case 'Q5_K': {
      const group = i >> 5;
      const k = group & 3;
      const low = group < 4;
      // bytes 4..15: AAAAAAee per group 0..3 (scale; 2 high bits of group + 4), the same for minima, then nibbles of groups 4..7
      const scale = low ? bits(b, 32 + 8 * k, 6) : bits(b, 96 + 8 * k, 4) + 16 * bits(b, 38 + 8 * k, 2);
      const minimum = low ? bits(b, 64 + 8 * k, 6) : bits(b, 100 + 8 * k, 4) + 16 * bits(b, 70 + 8 * k, 2);
      const nibbles = type === 'Q4_K' ? 16 : 48;
      let q = bits(b, 8 * (nibbles + 32 * (i >> 6) + (i & 31)) + 4 * (group & 1), 4);
      if (type === 'Q5_K') q += 16 * bits(b, 8 * (16 + (i & 31)) + group, 1);
      const [d, m] = [half(b.readUInt16LE(0)), half(b.readUInt16LE(2))];
      return f(f(f(d * scale) * q) - f(m * minimum));
    }
    case 'Q6_K': {
      const [part, j] = [i >> 7, i & 127];
      const q = bits(b, 8 * (64 * part + (j & 63)) + 4 * (j >> 6), 4) + 16 * bits(b, 8 * (128 + 32 * part + (j & 31)) + 2 * (j >> 5), 2) - 32;
      return f(f(half(b.readUInt16LE(208)) * b.readInt8(192 + (i >> 4))) * q);
    }
  }
}

/** @param {TypeName} type @param {Buffer} bytes @returns {Float32Array} */
export function dequantize(type, bytes) {
  const [length, nbytes] = BLOCKS[type];
  const out = new Float32Array((bytes.length / nbytes) * length);
  for (let i = 0; i < out.length; i++) {
    const at = Math.floor(i / length) * nbytes;
    out[i] = blockValue(type, bytes.subarray(at, at + nbytes), i % length);
  }
  return out;
}

/* ---- what converters do to tensors ---- */

/**
 * Rows of each head from (first half, second half) to pairs, as Llama's q and k are stored; `back` undoes it.
 * @param {Float32Array} values @param {number} headDim @param {number} nRows @param {boolean} [back]
 */
export function interleave(values, headDim, nRows, back = false) {
  const n = values.length / nRows;
  const out = new Float32Array(values.length);
  for (let row = 0; row < nRows; row++) {
    const [head, within] = [Math.floor(row / headDim), row % headDim];
    const pair = head * headDim + (within < headDim / 2 ? 2 * within : 2 * (within - headDim / 2) + 1);
    const [from, to] = back ? [pair, row] : [row, pair];
    out.set(values.subarray(from * n, (from + 1) * n), to * n);
  }
  return out;
}

/** @param {Float32Array} values @param {number} rows @param {number} cols */
export function transpose(values, rows, cols) {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = values[r * cols + c];
  return out;
}

/** @param {Float32Array} values */
export const floatBytes = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
