/** header.js: reads as much of a file's front as its header takes. */
import { newBytes } from './bytes.js';
import { TansyError } from './errors.js';

/** Of the first read: the header of all but very large models, in one request. */
const FIRST_NBYTES = 1 << 16;
/** The engine refuses larger ones. */
const MAX_NBYTES = 1 << 26;

/**
 * The first bytes of a file, usually the whole header and a little more.
 * @param {import('./source.js').Source} source
 * @param {AbortSignal} [signal]
 * @returns {Promise<Uint8Array>}
 */
export async function readFront(source, signal) {
  const front = await readUpTo(source, new Uint8Array(0), FIRST_NBYTES, signal);
  if (front.length === 0) throw new TansyError('TANSY_TRUNCATED', `${source.name} is empty; download or copy it again.`, { bytes: 0 });
  if (front.length < 16) throw new TansyError('TANSY_NOT_TANSY', `${source.name} has only ${front.length} bytes: it is not a .tansy file.`);
  return front;
}

/**
 * @param {import('./source.js').Source} source
 * @param {import('./engine.js').Planner} planner
 * @param {Uint8Array} front of readFront()
 * @param {AbortSignal} [signal]
 * @returns {Promise<{front: Uint8Array, headerNbytes: number}>} front: at least the header, and what came with it
 */
export async function completeHeader(source, planner, front, signal) {
  for (;;) {
    let answer;
    try {
      answer = planner.headerNbytes(front);
    } catch (error) {
      if (error instanceof TansyError) error.message = `${source.name}: ${error.message}`;
      throw error;
    }
    if (answer.complete) return { front, headerNbytes: answer.nbytes };
    if (answer.nbytes <= front.length || answer.nbytes > MAX_NBYTES) throw new TansyError('TANSY_CORRUPT', `${source.name} has a header that makes no sense; download it again.`);
    front = await readUpTo(source, front, answer.nbytes, signal);
    if (front.length < answer.nbytes)
      throw new TansyError('TANSY_TRUNCATED', `${source.name} ends after ${front.length} bytes, within its header; download or copy it again.`, {
        bytes: front.length,
        bytesExpected: answer.nbytes,
      });
  }
}

/**
 * @param {import('./source.js').Source} source
 * @param {Uint8Array} front what is there already
 * @param {number} nbytes
 * @param {AbortSignal} [signal]
 */
async function readUpTo(source, front, nbytes, signal) {
  const out = newBytes(nbytes);
  out.set(front);
  let at = front.length;
  for await (const given of source.read(at, nbytes - at, signal)) {
    const piece = given.subarray(0, nbytes - at); /* more than was asked for is cut off, as in loader.js */
    out.set(piece, at);
    at += piece.length;
  }
  return out.subarray(0, at);
}

/**
 * Size of the whole file as its index has it, before anything is checked.
 * @param {Uint8Array} front
 * @returns {number | undefined}
 */
export function peekFileNbytes(front) {
  const view = new DataView(front.buffer, front.byteOffset, front.byteLength);
  const indexAt = 8 + Number(view.getBigUint64(0, true));
  /* magic, version and index_nbytes come first */
  return indexAt + 24 <= front.length ? indexAt + Number(view.getBigUint64(indexAt + 16, true)) : undefined;
}
