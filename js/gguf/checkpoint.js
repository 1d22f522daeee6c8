/**
 * checkpoint.js: a GGUF file as a checkpoint that tansy-pack opens: config.json, tokenizer, and a table of where in the
 * file each tensor lies (src/pack/gguf.h). No weights are copied; they are read block by block where they are.
 */
import { TansyError } from '../errors.js';
import { makeConfig } from './config.js';
import { Metadata } from './metadata.js';
import { FAMILIES, ROPE_TENSORS, huggingFaceName, isInterleaved } from './names.js';
import { readFloats, readGguf } from './reader.js';
import { makeTokenizer } from './tokenizer.js';
import { SUPPORTED_TYPES } from './types.js';

/**
 * @param {string} path
 * @returns {Record<string, string>} contents of the checkpoint's files by their names
 */
export function ggufCheckpoint(path) {
  const header = readGguf(path);
  const metadata = new Metadata(header.metadata, path);
  const arch = metadata.string('general.architecture');
  if (arch === undefined) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} has no general.architecture; it is no complete model.`);
  if (!Object.hasOwn(FAMILIES, arch))
    throw metadata.unsupported(`architecture "${arch}" is not supported (supported: ${Object.keys(FAMILIES).join(', ')}).`);
  if ((metadata.integer('split.count') ?? 0) > 1) throw metadata.unsupported('it is one part of several; join them to one file first (llama-gguf-split --merge).');
  if (header.tensors.length === 0) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} holds no weights, only a vocabulary.`);
  const family = FAMILIES[arch];
  const tensors = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
  if (tensors.size !== header.tensors.length) throw new TansyError('TANSY_CORRUPT', `${path} names a tensor twice; download it again.`);

  const config = makeConfig(metadata, arch, family.modelType, tensors, (tensor) => readFloats(path, tensor));
  /** @type {Record<string, unknown>} */
  const table = {};
  for (const { name, type, shape, begin, end } of header.tensors) {
    if (ROPE_TENSORS.includes(name)) continue;
    const fullName = huggingFaceName(family, name);
    if (fullName === undefined) throw metadata.unsupported(`tensor ${name} is not part of the ${arch} architecture as supported here.`);
    if (type.length === 0) throw metadata.unsupported(`tensor ${name} has type ${type.name}, which is not supported (supported: ${SUPPORTED_TYPES.join(', ')}).`);
    table[fullName] = {
      dtype: type.name,
      shape,
      data_offsets: [begin, end],
      ...(isInterleaved(family, name) ? { interleaved: config.head_dim } : {}),
    };
  }
  /** @type {Record<string, string>} */
  const files = { 'config.json': JSON.stringify(config), 'model.gguf.json': JSON.stringify({ file: path, tensors: table }) };
  const tokenizer = makeTokenizer(metadata, arch);
  if (tokenizer !== undefined) {
    files['tokenizer.json'] = JSON.stringify(tokenizer.json);
    files['tokenizer_config.json'] = JSON.stringify(tokenizer.config);
  }
  return files;
}
