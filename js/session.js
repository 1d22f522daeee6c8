/**
 * session.js: the state of a conversation outside the heap: to move a model to a memory of another size, and as bytes to keep.
 *
 *   0  "tansyses"            20  u32 CRC-32 of the model file's header (which holds the checksums of all its weights)
 *   8  u32 version           24  u32 bytes of the pieces
 *  12  u32 form of the KV    28  u32 CRC-32 of bytes 0 … 27 and of the pieces
 *  16  u32 tokens            32  pieces, as src/tansy.h has them: token ids, keys and values, the sampler's state
 */
import { KV_FORMS } from './abi.js';
import { copyOf, newBytes } from './bytes.js';
import { TansyError } from './errors.js';

const MAGIC = 'tansyses';
const VERSION = 1;
const HEAD_NBYTES = 32;

/** @typedef {{nTokens: number, hasLogits: boolean, pieces: Uint8Array[]}} SessionState pieces: copies */

/**
 * @param {import('./engine.js').Engine} engine
 * @returns {SessionState}
 */
export function saveState(engine) {
  const nTokens = engine.position;
  return { nTokens, hasLogits: engine.logits().rows.length > 0, pieces: engine.sessionPieces(nTokens).map(copyOf) };
}

/**
 * @param {import('./engine.js').Engine} engine of the same file and KV form
 * @param {SessionState} state
 */
export function restoreState(engine, { nTokens, hasLogits, pieces }) {
  engine.makeRoom(nTokens);
  for (const [i, piece] of engine.sessionPieces(nTokens).entries()) piece.set(pieces[i]);
  engine.sessionRestore(nTokens);
  if (!hasLogits || nTokens === 0) return;
  /* logits do not travel: the last token is run again and gives the same ones */
  const ids = pieces[0];
  const last = new DataView(ids.buffer, ids.byteOffset, ids.byteLength).getInt32(4 * (nTokens - 1), true);
  engine.rewind(nTokens - 1);
  engine.begin([last], false);
  while (engine.step());
}

/**
 * @param {import('./engine.js').Engine} engine
 * @param {{kv: keyof typeof KV_FORMS, fingerprint: number}} of
 * @returns {Uint8Array}
 */
export function packSession(engine, { kv, fingerprint }) {
  const nTokens = engine.position;
  const pieces = engine.sessionPieces(nTokens);
  const nbytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const out = newBytes(HEAD_NBYTES + nbytes);
  const view = new DataView(out.buffer);
  out.set(new TextEncoder().encode(MAGIC));
  [VERSION, KV_FORMS[kv], nTokens, fingerprint, nbytes].forEach((value, i) => view.setUint32(8 + 4 * i, value, true));
  let at = HEAD_NBYTES;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  view.setUint32(28, checksum(out), true);
  return out;
}

/**
 * Puts a session into an engine; when the bytes are not good, the engine is as before.
 * @param {import('./engine.js').Engine} engine
 * @param {unknown} given
 * @param {{kv: keyof typeof KV_FORMS, fingerprint: number}} of
 * @returns {number[]} its token ids
 */
export function unpackSession(engine, given, { kv, fingerprint }) {
  const bytes = given instanceof Uint8Array ? given : given instanceof ArrayBuffer ? new Uint8Array(given) : undefined;
  if (bytes === undefined) throw new TansyError('TANSY_OPTION', 'restoreSession takes the bytes that saveSession gave.');
  const bad = (/** @type {string} */ why) => new TansyError('TANSY_SESSION', `The saved session cannot be used: ${why}.`);
  if (bytes.length < HEAD_NBYTES || new TextDecoder().decode(bytes.subarray(0, 8)) !== MAGIC) throw bad('these are not the bytes of a session');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [version, form, nTokens, file, nbytes] = [8, 12, 16, 20, 24].map((at) => view.getUint32(at, true));
  if (version !== VERSION) throw bad(`it has version ${version}, this package reads ${VERSION}`);
  if (nbytes !== bytes.length - HEAD_NBYTES) throw bad(`${bytes.length} bytes of ${HEAD_NBYTES + nbytes} are there`);
  if (view.getUint32(28, true) !== checksum(bytes)) throw bad('its checksum is wrong; it is damaged');
  if (file !== fingerprint) throw bad('it belongs to another model file');
  if (form !== KV_FORMS[kv]) throw bad(`load the model with kv: "${Object.keys(KV_FORMS)[form] ?? '?'}", which it was saved with`);
  if (nTokens > engine.context)
    throw new TansyError('TANSY_CONTEXT', `The saved session has ${nTokens} tokens; the context holds ${engine.context}. Load the model with a larger contextSize.`, {
      tokens: nTokens,
      contextSize: engine.context,
    });
  const before = saveState(engine);
  engine.makeRoom(nTokens);
  const pieces = engine.sessionPieces(nTokens);
  if (nbytes !== pieces.reduce((sum, piece) => sum + piece.length, 0)) throw bad('its size contradicts its number of tokens');
  let at = HEAD_NBYTES;
  for (const piece of pieces) {
    piece.set(bytes.subarray(at, at + piece.length));
    at += piece.length;
  }
  try {
    engine.sessionRestore(nTokens);
  } catch (error) {
    restoreState(engine, before);
    throw error instanceof TansyError && error.code === 'TANSY_CORRUPT' ? bad('it holds tokens or numbers that this model cannot have') : error;
  }
  return Array.from({ length: nTokens }, (_, i) => view.getInt32(HEAD_NBYTES + 4 * i, true));
}

/** @param {Uint8Array} session */
const checksum = (session) => crc32(session.subarray(HEAD_NBYTES), crc32(session.subarray(0, 28)));

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
  return c;
});

/**
 * CRC-32 (IEEE), as in the file format.
 * @param {Uint8Array} bytes
 * @param {number} [before] checksum of what comes before them
 */
export function crc32(bytes, before = 0) {
  let c = ~before;
  for (let i = 0; i < bytes.length; i++) c = (c >>> 8) ^ TABLE[(c ^ bytes[i]) & 255];
  return ~c >>> 0;
}
