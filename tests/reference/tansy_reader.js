// tansy_reader.js: reads .tansy files from src/format/FORMAT.md and src/codec/CODEC.md alone. Written to be read, not to be
// fast; it shares nothing with the engine, so that the two keep each other and the documents honest.
//
//   const file = readTansy(bytes);            // checks every checksum
//   file.tensors[3].name, .shape, .integers() // z of a coded matrix; .values() // dequantized, or a vector's floats
import { crc32 } from './crc32.js';

const KINDS = ['F32', 'F16', 'LOG8', 'CODED'];

/** A cursor that refuses to leave its bytes. */
class Cursor {
  /** @param {Uint8Array} bytes @param {number} [at] @param {number} [end] */
  constructor(bytes, at = 0, end = bytes.length) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }
  /** @param {number} n */
  take(n) {
    if (!(n >= 0) || this.at + n > this.end) throw new Error(`${n} bytes at ${this.at} are beyond the end at ${this.end}`);
    const at = this.at;
    this.at += n;
    return at;
  }
  u8() {
    return this.bytes[this.take(1)];
  }
  u16() {
    return this.view.getUint16(this.take(2), true);
  }
  u32() {
    return this.view.getUint32(this.take(4), true);
  }
  u64() {
    return Number(this.view.getBigUint64(this.take(8), true));
  }
  f32() {
    return this.view.getFloat32(this.take(4), true);
  }
  f16() {
    const h = this.u16();
    const [sign, exponent, fraction] = [h >> 15 ? -1 : 1, (h >> 10) & 31, h & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  varint() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
  /** @param {number} n */
  raw(n) {
    const at = this.take(n);
    return this.bytes.subarray(at, at + n);
  }
  /** @param {number} n values of 4 bits, low nibble first */
  nibbles(n) {
    const bytes = this.raw(Math.ceil(n / 2));
    return Array.from({ length: n }, (_, i) => (bytes[i >> 1] >> (4 * (i & 1))) & 15);
  }
}

/** @param {Uint8Array} bytes a whole .tansy file */
export function readTansy(bytes) {
  const shell = new Cursor(bytes);
  const jsonNbytes = shell.u64();
  const json = JSON.parse(new TextDecoder().decode(shell.raw(jsonNbytes)));
  const indexAt = shell.at;

  const c = new Cursor(bytes, indexAt);
  const magic = new TextDecoder().decode(c.raw(8));
  if (magic !== 'TANSYIDX') throw new Error(`magic is ${magic}`);
  const version = c.u32();
  if (version !== 1) throw new Error(`version is ${version}`);
  const indexNbytes = c.u32();
  const dataNbytes = c.u64();
  const chunkNbytes = 2 ** c.u8();
  c.end = indexAt + indexNbytes;
  /** @type {Map<number, number>} */
  const config = new Map();
  for (let n = c.varint(); n > 0; n--) config.set(c.varint(), c.u32());
  const attachments = [];
  for (let n = c.varint(); n > 0; n--)
    attachments.push({
      name: new TextDecoder().decode(c.raw(c.varint())),
      encoding: ['raw', 'gzip'][c.u8()],
      nbytes: c.varint(),
      rawNbytes: c.varint(),
      offset: 0,
    });
  const records = [];
  for (let n = c.varint(); n > 0; n--) records.push(readRecord(c));

  /* the payload: attachments, then tensors, without holes */
  const payloadAt = indexAt + indexNbytes;
  const payloadNbytes = dataNbytes - indexNbytes;
  let at = payloadAt;
  for (const part of [...attachments, ...records]) {
    part.offset = at;
    at += part.nbytes;
  }
  if (at !== payloadAt + payloadNbytes || at !== bytes.length) throw new Error(`sections end at ${at}, the file at ${bytes.length}`);

  for (let begin = payloadAt; begin < at; begin += chunkNbytes) {
    const chunk = bytes.subarray(begin, Math.min(begin + chunkNbytes, at));
    const expected = c.u32();
    if (crc32(chunk) !== expected) throw new Error(`the chunk at ${begin} has the wrong checksum`);
  }
  const indexCrc = crc32(bytes.subarray(indexAt, c.at));
  if (c.u32() !== indexCrc) throw new Error('the index has the wrong checksum');
  if (c.at !== c.end) throw new Error(`${c.end - c.at} bytes of the index are left over`);

  return {
    json,
    config,
    attachments: attachments.map((a) => ({ ...a, bytes: bytes.subarray(a.offset, a.offset + a.nbytes) })),
    tensors: records.map((record) => ({
      ...record,
      /** Row-major integers of a coded matrix. */
      integers: () => readMatrix(bytes, record).z,
      /** Row-major floats: z times row_scale (col_scale is a tensor of its own), or the vector. */
      values: () => {
        if (record.kind !== 'CODED') return readVector(new Cursor(bytes, record.offset, record.offset + record.nbytes), record.kind, record.nCols);
        const { z, rowScale } = readMatrix(bytes, record);
        return Float64Array.from(z, (v, i) => v * rowScale[Math.floor(i / record.nCols)]);
      },
    })),
  };
}

/** @typedef {ReturnType<typeof readRecord>} TensorRecord */

/** @param {Cursor} c */
function readRecord(c) {
  const record = { role: c.u8(), layer: c.varint(), kind: KINDS[c.u8()], nRows: c.varint(), nCols: c.varint(), nbytes: c.varint(), offset: 0 };
  if (record.kind !== 'CODED') return { ...record, coded: undefined };
  const coded = {
    rawBits: c.u8(),
    nTables: c.varint(),
    tileNRows: c.varint(),
    nEscapes: c.varint(),
    headNbytes: c.varint(),
    rowScale: c.u8(),
  };
  return { ...record, coded };
}

/** @param {Cursor} c @param {string} kind @param {number} n */
function readVector(c, kind, n) {
  const base = kind === 'LOG8' ? c.f32() : 1;
  /* the table of vector.c: floats nearest to 2^(i/16) */
  const log8 = (/** @type {number} */ e) => base * Math.fround(2 ** ((e & 15) / 16)) * 2 ** (e >> 4);
  return Float64Array.from({ length: n }, () => (kind === 'F32' ? c.f32() : kind === 'F16' ? c.f16() : log8(c.u8())));
}

/** @param {Uint8Array} bytes @param {TensorRecord} record */
function readMatrix(bytes, record) {
  const { nRows, nCols, coded } = record;
  if (coded === undefined) throw new Error('not a coded matrix');
  const c = new Cursor(bytes, record.offset, record.offset + record.nbytes);
  const base = c.f32();
  let rowScale;
  if (coded.rowScale === 0) rowScale = new Array(nRows).fill(base);
  else if (coded.rowScale === 1) rowScale = c.nibbles(nRows).map((code) => base * 2 ** (code / 2));
  else rowScale = Array.from({ length: nRows }, () => base * c.f16());
  return { rowScale, z: readCodes(c, nRows, nCols, coded) };
}

/**
 * @param {Cursor} c at the head of a codec stream
 * @param {number} nRows
 * @param {number} nCols
 * @param {NonNullable<TensorRecord['coded']>} shape
 */
function readCodes(c, nRows, nCols, { rawBits, nTables, tileNRows, nEscapes, headNbytes }) {
  const headEnd = c.at + headNbytes;
  const [nGroups, nSteps, nTiles] = [Math.ceil(nRows / 4), Math.ceil(nCols / 16), Math.ceil(nRows / tileNRows)];
  const flags = c.u8();
  const nSets = flags & 1 ? 4 : 1;
  const tilesNbytes = c.varint();
  const tables = Array.from({ length: nTables }, () => readTable(c));
  const rowClass = flags & 2 ? c.nibbles(nGroups) : new Array(nGroups).fill(0);
  const stepClass = flags & 4 ? c.nibbles(nSteps) : new Array(nSteps).fill(0);
  const tileBegin = [0, ...Array.from({ length: nTiles - 1 }, () => c.u32())];
  const escapes = nEscapes > 0 ? readEscapes(new Cursor(c.bytes, c.at, headEnd), nTiles, nRows, nCols, tileNRows, rawBits) : [];
  if (escapes.length !== nEscapes) throw new Error(`${escapes.length} escapes instead of ${nEscapes}`);

  const z = new Int32Array(nRows * nCols);
  for (let t = 0; t < nTiles; t++) {
    const tile = new Cursor(c.bytes, headEnd + tileBegin[t], headEnd + (t + 1 < nTiles ? tileBegin[t + 1] : tilesNbytes));
    const states = Array.from({ length: nSets }, () => {
      const [low, high] = [tile.raw(16), tile.raw(16)];
      return Array.from(low, (byte, lane) => byte | (high[lane] << 8));
    });
    const groupBegin = (t * tileNRows) / 4;
    const groupEnd = Math.min(groupBegin + tileNRows / 4, nGroups);
    const groupRawNbytes = 16 * (rawBits === 4 ? 2 * nSteps : (rawBits >= 2 ? nSteps : 0) + (rawBits & 1 ? Math.ceil(nSteps / 2) : 0));
    const raws = tile.raw(groupRawNbytes * (groupEnd - groupBegin));
    for (let g = groupBegin; g < groupEnd; g++) {
      const raw = raws.subarray((g - groupBegin) * groupRawNbytes, (g - groupBegin + 1) * groupRawNbytes);
      for (let step = 0; step < nSteps; step++) {
        const table = tables[Math.min(rowClass[g] + stepClass[step], nTables - 1)];
        for (let k = 0; k < 4; k++)
          for (let lane = 0; lane < 16; lane++) {
            const set = states[k % nSets];
            const x = set[lane];
            const slot = x & 255;
            const run = table.find(({ begin, freq }) => slot >= begin && slot < begin + freq);
            if (run === undefined) throw new Error('a slot without a symbol');
            let next = run.freq * (x >> 8) + slot - run.begin;
            if (next < 256) next = (next << 8) | ((next + tile.u8()) & 255);
            set[lane] = next;
            const u = (run.symbol << rawBits) | rawOf(raw, rawBits, nSteps, step, k, lane);
            const [row, col] = [4 * g + k, 16 * step + lane];
            if (row < nRows && col < nCols) z[row * nCols + col] = u - (8 << rawBits);
          }
      }
    }
    if (tile.at !== tile.end) throw new Error(`tile ${t} has ${tile.end - tile.at} bytes left over`);
    if (states.some((set) => set.some((x) => x !== 256))) throw new Error(`tile ${t} does not end in the first state`);
  }
  for (const { cell, delta } of escapes) z[cell] = (z[cell] + delta) | 0;
  return z;
}

/** @param {Cursor} c */
function readTable(c) {
  const nRuns = c.u8();
  const symbols = c.nibbles(nRuns);
  let begin = 0;
  return symbols.map((symbol, i) => {
    const freq = i + 1 < nRuns ? c.u8() : 256 - begin;
    const run = { symbol, begin, freq };
    begin += freq;
    return run;
  });
}

/**
 * The raw low bits of one weight, from the bytes of its group.
 * @param {Uint8Array} raw
 * @param {number} r
 * @param {number} nSteps
 * @param {number} step
 * @param {number} k row of the group
 * @param {number} lane
 */
function rawOf(raw, r, nSteps, step, k, lane) {
  const pairs = () => (raw[16 * step + lane] >> (2 * k)) & 3;
  const single = (/** @type {number} */ at) => (raw[at + 16 * (step >> 1) + lane] >> (4 * (step & 1) + k)) & 1;
  if (r === 0) return 0;
  if (r === 1) return single(0);
  if (r === 2) return pairs();
  if (r === 3) return pairs() | (single(16 * nSteps) << 2);
  return (raw[16 * (2 * step + (k >> 1)) + lane] >> (4 * (k & 1))) & 15;
}

/**
 * @param {Cursor} c
 * @param {number} nTiles
 * @param {number} nRows
 * @param {number} nCols
 * @param {number} tileNRows
 * @param {number} rawBits
 */
function readEscapes(c, nTiles, nRows, nCols, tileNRows, rawBits) {
  const [gapBits, magnitudeBits, base0, base1] = [c.u8(), c.u8(), c.varint(), c.varint()];
  const begins = [0, ...Array.from({ length: nTiles - 1 }, () => c.u32())];
  const bitsAt = c.at;
  const escapes = [];
  for (let t = 0; t < nTiles; t++) {
    let bit = 8 * (bitsAt + begins[t]);
    const bits = (/** @type {number} */ n) => {
      let value = 0;
      for (let i = 0; i < n; i++, bit++) {
        if (bit >= 8 * c.end) throw new Error('an escape list leaves the head');
        value += ((c.bytes[bit >> 3] >> (bit & 7)) & 1) * 2 ** i;
      }
      return value;
    };
    const low = bits(15);
    const n = bits(1) ? low + bits(16) * 2 ** 15 : low;
    let cell = t * tileNRows * nCols - 1;
    const listEnd = t + 1 < nTiles ? bitsAt + begins[t + 1] : c.end;
    let nFar = 0;
    for (let i = 0; i < n; ) {
      const gap = bits(gapBits);
      const negative = bits(1);
      let magnitude = bits(magnitudeBits);
      if (gap === 2 ** gapBits - 1) {
        cell += gap; /* no escape here */
        continue;
      }
      if (magnitudeBits > 0 && magnitude === 2 ** magnitudeBits - 1) magnitude = new Cursor(c.bytes, listEnd - 4 * ++nFar, listEnd).u32();
      magnitude += negative ? base1 : base0;
      cell += 1 + gap;
      i++;
      if (cell >= Math.min((t + 1) * tileNRows, nRows) * nCols) throw new Error('an escape leaves its tile');
      escapes.push({ cell, delta: Number(BigInt.asIntN(32, BigInt(negative ? -magnitude : magnitude) << BigInt(rawBits))) });
    }
  }
  return escapes;
}
