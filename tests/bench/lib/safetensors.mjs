// Safetensors files of f32 tensors, read whole and written whole.
import { readFileSync, writeFileSync } from 'node:fs';

/** @typedef {{name: string, shape: number[], values: Float32Array}} Tensor */

/** @param {string} path @returns {Tensor[]} */
export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const header = /** @type {Record<string, any>} */ (JSON.parse(bytes.toString('utf8', 8, begin)));
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
      if (dtype !== 'F32') throw new Error(`${path}: ${name} is ${dtype}, not F32`);
      return { name, shape, values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + begin + from, bytes.byteOffset + begin + to)) };
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
