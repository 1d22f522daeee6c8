/** tensors.js: the tensor records of a file's index (src/format/FORMAT.md), for figures: names, shapes, bytes. */
import { TansyError } from './errors.js';
import { ROLES, tensorName } from './roles.js';

/**
 * @typedef {object} TensorInfo
 * @property {string} name such as `layer.0.gate`
 * @property {number} role
 * @property {number} layer
 * @property {boolean} coded a matrix, ANS-coded
 * @property {number} nRows
 * @property {number} nCols
 * @property {number} nbytes in the file
 * @property {number} escapes
 */

const CODED = 3;

/**
 * @param {Uint8Array} header a header that the engine has accepted
 * @returns {TensorInfo[]}
 */
export function readTensors(header) {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  let at = start + 8 + 4 + 4 + 8 + 1;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= header.length) throw new TansyError('TANSY_CORRUPT');
      const byte = header[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  for (let n = varint(); n > 0; n--) {
    varint();
    at += 4;
  }
  for (let n = varint(); n > 0; n--) {
    const nameNbytes = varint();
    at += nameNbytes + 1;
    varint();
    varint();
  }
  const tensors = [];
  for (let n = varint(); n > 0; n--) {
    const role = header[at++];
    const layer = varint();
    const coded = header[at++] === CODED;
    const [nRows, nCols, nbytes] = [varint(), varint(), varint()];
    let escapes = 0;
    if (coded) {
      at += 1;
      varint();
      varint();
      escapes = varint();
      varint();
      at += 1;
    }
    tensors.push({ name: tensorName(role, layer), role, layer, coded, nRows, nCols, nbytes, escapes });
  }
  return tensors;
}

/**
 * Parameters of the model: what the file stores but scales and frequencies, which the checkpoint does not have.
 * @param {readonly TensorInfo[]} tensors
 */
export function countParameters(tensors) {
  let n = 0;
  for (const { role, nRows, nCols } of tensors) if (!/_scale$|^rope_/.test(ROLES[role] ?? '')) n += nRows * nCols;
  return n;
}
