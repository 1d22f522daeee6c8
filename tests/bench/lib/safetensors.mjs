// Safetensors files, read whole as floats and written whole as f32.
import { readFileSync, writeFileSync } from 'node:fs';

/** @typedef {{name: string, shape: number[], values: Float32Array}} Tensor */

/** @param {number} h bits of a half */
function fromHalf(h) {
  const [exponent, fraction] = [(h >> 10) & 31, h & 1023];
  return (h >> 15 ? -1 : 1) * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** @param {string} path @returns {Tensor[]} */
export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const header = /** @type {Record<string, any>} */ (JSON.parse(bytes.toString('utf8', 8, begin)));
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
      const stored = bytes.buffer.slice(bytes.byteOffset + begin + from, bytes.byteOffset + begin + to);
      if (dtype === 'F32') return { name, shape, values: new Float32Array(stored) };
      if (dtype !== 'F16') throw new Error(`${path}: ${name} is ${dtype}, neither F32 nor F16`);
      return { name, shape, values: Float32Array.from(new Uint16Array(stored), fromHalf) };
    });
}

/** @param {string} path @param {Tensor[]} tensors */
export function writeSafetensors(path, tensors) {
  /** @type {Record<string, object>} */
  const header = {};
  let at = 0;
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + values.byteLength] };
    at += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const nbytes = Buffer.alloc(8);
  nbytes.writeBigUInt64LE(BigInt(json.length));
  const data = tensors.map(({ values }) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  writeFileSync(path, Buffer.concat([nbytes, json, ...data]));
}
