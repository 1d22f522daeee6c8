// Writes a GGUF file (version 3) of random weights in the geometry of a known model, for peers that read GGUF.
//
// Types of tensors are what llama.cpp's quantizer chooses: Q8_0, or the mix it calls Q4_K_M, with its substitutes where a row is no
// multiple of 256 (Q5_0 for Q4_K, Q8_0 for Q6_K). The vocabulary has one token for each of as many CJK characters, which never
// merge: a prompt of n such characters is n tokens.

import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { finished } from 'node:stream/promises';

/** @import { Geometry } from './geometry.mjs' */

const ALIGNMENT = 32;
const VALUE = Object.freeze({ u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 });

/** spread: deviation of weights with random codes at a block scale of 1; scaleAt: where in the block that scale is. */
const TYPES = Object.freeze({
  F32: { id: 0, blockN: 1, blockNbytes: 4 },
  Q5_0: { id: 6, blockN: 32, blockNbytes: 22, spread: 9.2, scaleAt: [0] },
  Q8_0: { id: 8, blockN: 32, blockNbytes: 34, spread: 73.9, scaleAt: [0] },
  Q4_K: { id: 12, blockN: 256, blockNbytes: 144, spread: 32 * 4.61, scaleAt: [0] },
  Q6_K: { id: 14, blockN: 256, blockNbytes: 210, spread: 32 * 18.5, scaleAt: [208] },
});

/** @typedef {keyof typeof TYPES} TypeName */
/** @typedef {{name: string, nRows: number, nCols: number, type: TypeName}} Tensor */

const FIRST_CHARACTER = 0x4e00;
const N_SPECIAL = 3 + 256;

/**
 * Character of the i-th ordinary token.
 * @param {number} i
 */
function character(i) {
  const code = FIRST_CHARACTER + i;
  /* over surrogates and private characters */
  return String.fromCodePoint(code < 0xd800 ? code : code - 0xd800 + 0x20000);
}

/**
 * Text of exactly n tokens.
 * @param {number} n
 * @param {number} vocab
 * @param {number} seed another seed, another text
 */
export function textOfTokens(n, vocab, seed) {
  let x = (seed * 2654435761 + 12345) >>> 0;
  return Array.from({ length: n }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return character((x >>> 8) % (vocab - N_SPECIAL));
  }).join('');
}

/**
 * @param {Geometry} g
 * @param {'Q8_0' | 'Q4_K_M'} mix
 * @returns {Tensor[]}
 */
export function tensorsOf(g, mix) {
  const nQ = g.heads * g.headDim;
  const nKv = g.kvHeads * g.headDim;
  /** @param {number} nCols @param {boolean} fine @returns {TypeName} */
  const type = (nCols, fine) => {
    if (mix === 'Q8_0') return 'Q8_0';
    if (nCols % 256 !== 0) return fine ? 'Q8_0' : 'Q5_0';
    return fine ? 'Q6_K' : 'Q4_K';
  };
  /** @param {string} name @param {number} nRows @param {number} nCols @param {boolean} [fine] @returns {Tensor} */
  const matrix = (name, nRows, nCols, fine = false) => ({ name: `${name}.weight`, nRows, nCols, type: type(nCols, fine) });
  /** @param {string} name @param {number} nCols @returns {Tensor} */
  const vector = (name, nCols) => ({ name, nRows: 1, nCols, type: 'F32' });
  const list = [matrix('token_embd', g.vocab, g.hidden, g.tied)];
  for (let i = 0; i < g.layers; i++) {
    /* llama.cpp gives half of these layers more bits: the first and last eighth, and each third between */
    const eighth = Math.floor(g.layers / 8);
    const fine = i < eighth || i >= Math.floor((7 * g.layers) / 8) || (i - eighth) % 3 === 2;
    const at = `blk.${i}.`;
    list.push(
      vector(`${at}attn_norm.weight`, g.hidden),
      matrix(`${at}attn_q`, nQ, g.hidden),
      matrix(`${at}attn_k`, nKv, g.hidden),
      matrix(`${at}attn_v`, nKv, g.hidden, fine),
      matrix(`${at}attn_output`, g.hidden, nQ),
      vector(`${at}ffn_norm.weight`, g.hidden),
      matrix(`${at}ffn_gate`, g.intermediate, g.hidden),
      matrix(`${at}ffn_up`, g.intermediate, g.hidden),
      matrix(`${at}ffn_down`, g.hidden, g.intermediate, fine),
    );
    if (g.qkvBias) list.push(vector(`${at}attn_q.bias`, nQ), vector(`${at}attn_k.bias`, nKv), vector(`${at}attn_v.bias`, nKv));
  }
  list.push(vector('output_norm.weight', g.hidden));
  if (!g.tied) list.push(matrix('output', g.vocab, g.hidden, true));
  return list;
}

/** @param {Tensor} t */
function nbytesOf(t) {
  const { blockN, blockNbytes } = TYPES[t.type];
  if (t.nCols % blockN !== 0) throw new Error(`${t.name}: ${t.nCols} columns are no multiple of ${blockN}`);
  return (t.nRows * t.nCols * blockNbytes) / blockN;
}

/** @param {number} value positive, at most 65504 */
function half(value) {
  const exponent = Math.max(Math.floor(Math.log2(value)), -14);
  const mantissa = Math.round(value / 2 ** (exponent - 10));
  return exponent === -14 ? mantissa : ((exponent + 14) << 10) + mantissa;
}

/**
 * Some random blocks for rows of nCols: repeated, they make tensors of deviation 1 / sqrt(nCols).
 * @param {TypeName} type
 * @param {number} nCols
 */
function blocks(type, nCols) {
  const { blockNbytes, spread, scaleAt } = /** @type {typeof TYPES.Q8_0} */ (TYPES[type]);
  const n = 1 << 13;
  const bytes = Buffer.alloc(n * blockNbytes);
  let x = 1;
  for (let i = 0; i < bytes.length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    bytes[i] = x >>> 16;
  }
  const scale = half(1 / (spread * Math.sqrt(nCols)));
  for (let i = 0; i < n; i++) {
    const at = i * blockNbytes;
    bytes.writeUInt16LE(scale, at + scaleAt[0]);
    if (type === 'Q4_K') {
      /* least value 7.5 steps below 0; eight scales and eight minima of 32 */
      bytes.writeUInt16LE(half(7.5 / (spread * Math.sqrt(nCols))), at + 2);
      bytes.fill(0xa0, at + 4, at + 12);
      bytes.fill(0, at + 12, at + 16);
    } else if (type === 'Q6_K') bytes.fill(32, at + 192, at + 208);
  }
  return bytes;
}

/** The front of the file. */
class Front {
  /** @type {Buffer[]} */
  parts = [];
  /** @param {number} v */
  u32(v) {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(v);
    this.parts.push(b);
  }
  /** @param {number} v */
  u64(v) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64LE(BigInt(v));
    this.parts.push(b);
  }
  /** @param {number} v */
  f32(v) {
    const b = Buffer.alloc(4);
    b.writeFloatLE(v);
    this.parts.push(b);
  }
  /** @param {string} text */
  string(text) {
    const b = Buffer.from(text, 'utf8');
    this.u64(b.length);
    this.parts.push(b);
  }
  /** @param {keyof typeof VALUE} type @param {any} v */
  value(type, v) {
    if (type === 'string') this.string(v);
    else if (type === 'f32') this.f32(v);
    else if (type === 'bool') this.parts.push(Buffer.from([v ? 1 : 0]));
    else this.u32(v);
  }
  /** @param {string} key @param {keyof typeof VALUE} type @param {any} v */
  pair(key, type, v) {
    this.string(key);
    this.u32(VALUE[type]);
    this.value(type, v);
  }
  /** @param {string} key @param {keyof typeof VALUE} type @param {any[]} list */
  array(key, type, list) {
    this.string(key);
    this.u32(VALUE.array);
    this.u32(VALUE[type]);
    this.u64(list.length);
    for (const v of list) this.value(type, v);
  }
}

/**
 * @param {Geometry} g
 * @param {'Q8_0' | 'Q4_K_M'} mix
 * @param {Tensor[]} tensors
 */
function makeFront(g, mix, tensors) {
  const arch = g.qkvBias ? 'qwen2' : 'llama';
  const meta = new Front();
  let n = 0;
  /** @param {string} key @param {keyof typeof VALUE} type @param {any} v */
  const pair = (key, type, v) => (n++, meta.pair(key, type, v));
  pair('general.architecture', 'string', arch);
  pair('general.name', 'string', 'random');
  pair('general.file_type', 'u32', mix === 'Q8_0' ? 7 : 15);
  pair('general.quantization_version', 'u32', 2);
  pair(`${arch}.vocab_size`, 'u32', g.vocab);
  pair(`${arch}.context_length`, 'u32', g.modelContext);
  pair(`${arch}.embedding_length`, 'u32', g.hidden);
  pair(`${arch}.block_count`, 'u32', g.layers);
  pair(`${arch}.feed_forward_length`, 'u32', g.intermediate);
  pair(`${arch}.attention.head_count`, 'u32', g.heads);
  pair(`${arch}.attention.head_count_kv`, 'u32', g.kvHeads);
  pair(`${arch}.attention.layer_norm_rms_epsilon`, 'f32', g.normEps);
  pair(`${arch}.rope.dimension_count`, 'u32', g.headDim);
  pair(`${arch}.rope.freq_base`, 'f32', g.ropeTheta);
  const tokens = ['<unk>', '<s>', '</s>'];
  for (let i = 0; i < 256; i++) tokens.push(`<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  for (let i = 0; tokens.length < g.vocab; i++) tokens.push(character(i));
  pair('tokenizer.ggml.model', 'string', 'llama');
  pair('tokenizer.ggml.bos_token_id', 'u32', 1);
  pair('tokenizer.ggml.eos_token_id', 'u32', 2);
  pair('tokenizer.ggml.unknown_token_id', 'u32', 0);
  pair('tokenizer.ggml.add_bos_token', 'bool', false);
  pair('tokenizer.ggml.add_eos_token', 'bool', false);
  pair('tokenizer.ggml.add_space_prefix', 'bool', false);
  meta.array('tokenizer.ggml.tokens', 'string', tokens);
  meta.array('tokenizer.ggml.scores', 'f32', tokens.map((_, i) => -i));
  /* 1 normal, 2 unknown, 3 control, 6 byte */
  meta.array('tokenizer.ggml.token_type', 'i32', tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < N_SPECIAL ? 6 : 1)));
  n += 3;

  const front = new Front();
  front.parts.push(Buffer.from('GGUF'));
  front.u32(3);
  front.u64(tensors.length);
  front.u64(n);
  front.parts.push(Buffer.concat(meta.parts));
  let offset = 0;
  for (const t of tensors) {
    front.string(t.name);
    front.u32(t.nRows === 1 ? 1 : 2);
    front.u64(t.nCols);
    if (t.nRows !== 1) front.u64(t.nRows);
    front.u32(TYPES[t.type].id);
    front.u64(offset);
    offset += Math.ceil(nbytesOf(t) / ALIGNMENT) * ALIGNMENT;
  }
  const bytes = Buffer.concat(front.parts);
  return Buffer.concat([bytes, Buffer.alloc(Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT - bytes.length)]);
}

/**
 * @param {string} path
 * @param {Geometry} g
 * @param {'Q8_0' | 'Q4_K_M'} mix
 */
export async function writeGguf(path, g, mix) {
  const tensors = tensorsOf(g, mix);
  const out = createWriteStream(`${path}.part`);
  /** @param {Buffer} bytes */
  const write = async (bytes) => {
    if (!out.write(bytes)) await new Promise((resolve) => out.once('drain', resolve));
  };
  await write(makeFront(g, mix, tensors));
  /** @type {Map<string, Buffer>} */
  const pools = new Map();
  for (const t of tensors) {
    const nbytes = nbytesOf(t);
    if (t.type === 'F32') {
      /* norms of ones, biases of zeros */
      const values = new Float32Array(t.nCols).fill(t.name.endsWith('.bias') ? 0 : 1);
      await write(Buffer.from(values.buffer));
    } else {
      const key = `${t.type} ${t.nCols}`;
      const pool = pools.get(key) ?? blocks(t.type, t.nCols);
      pools.set(key, pool);
      for (let at = 0; at < nbytes; at += pool.length) await write(pool.subarray(0, Math.min(pool.length, nbytes - at)));
    }
    await write(Buffer.alloc((ALIGNMENT - (nbytes % ALIGNMENT)) % ALIGNMENT));
  }
  out.end();
  await finished(out);
  await rename(`${path}.part`, path);
}
