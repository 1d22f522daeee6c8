// fake_sink.js: stands for the engine in tests of the loader: chunks with checksums, a few staging slots.
import { crc32 } from '../../reference/crc32.js';
import { statusError } from '../../../js/errors.js';

/** @param {number} n @param {number} [seed] */
export function randomBytes(n, seed = 1) {
  const out = new Uint8Array(n);
  let x = seed >>> 0 || 1;
  for (let i = 0; i < n; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = x;
  }
  return out;
}

export class FakeSink {
  /**
   * @param {Uint8Array} file the good one
   * @param {number} headerNbytes
   * @param {number} chunkNbytes
   * @param {number} [nSlots]
   */
  constructor(file, headerNbytes, chunkNbytes, nSlots = 4) {
    this.headerNbytes = headerNbytes;
    this.chunk = chunkNbytes;
    this.total = file.length;
    this.nChunks = Math.ceil((file.length - headerNbytes) / chunkNbytes);
    this.crcs = Array.from({ length: this.nChunks }, (_, i) => crc32(file.subarray(this.chunkOffset(i), this.chunkOffset(i) + this.chunkNbytes(i))));
    this.nSlots = nSlots;
    /** @type {Map<number, Uint8Array>} */
    this.slots = new Map();
    this.mostSlots = 0;
    this.result = new Uint8Array(file.length);
    this.ended = new Set();
  }
  /** @param {number} i */
  chunkOffset(i) {
    return this.headerNbytes + i * this.chunk;
  }
  /** @param {number} i */
  chunkNbytes(i) {
    return Math.min(this.chunk, this.total - this.chunkOffset(i));
  }
  /** @param {number} i */
  chunkBegin(i) {
    if (this.slots.has(i) || this.ended.has(i)) throw new Error(`chunk ${i} begun twice`);
    if (this.slots.size === this.nSlots) return undefined;
    this.slots.set(i, new Uint8Array(this.chunkNbytes(i)));
    this.mostSlots = Math.max(this.mostSlots, this.slots.size);
    return i;
  }
  /** @param {number} i */
  chunkView(i) {
    const slot = this.slots.get(i);
    if (slot === undefined) throw new Error(`chunk ${i} is written before it began`);
    return slot;
  }
  /** @param {number} i */
  chunkEnd(i) {
    const slot = this.slots.get(i);
    if (slot === undefined) throw new Error(`chunk ${i} ended before it began`);
    this.slots.delete(i);
    if (crc32(slot) !== this.crcs[i]) return 4;
    this.result.set(slot, this.chunkOffset(i));
    this.ended.add(i);
    return 0;
  }
  /** @param {number} i */
  chunkAbort(i) {
    this.slots.delete(i);
  }
  /** @param {number} status */
  error(status) {
    return statusError(status);
  }
}
