/** paths.js: what can be said of folders and files before hours of work: whether the result can be written, whether the weights are there at all. */
import { accessSync, closeSync, constants, existsSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { TansyError } from '../errors.js';
import { usageError } from './args.js';

/**
 * Whether a file can be written there once it is made.
 * @param {string} path as given
 * @param {string} flag
 */
export function checkOutput(path, flag) {
  const target = resolve(path);
  if (existsSync(target) && statSync(target).isDirectory()) throw usageError(`${flag} ${path} is a folder; name a file in it.`);
  const folder = dirname(target);
  try {
    accessSync(folder, constants.W_OK);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    throw new TansyError('TANSY_IO', `${flag} ${path}: ${code === 'ENOENT' ? `there is no folder ${folder}; make it first` : `nothing can be written to ${folder} (${code})`}.`, {}, error);
  }
}

const POINTER = 'version https://git-lfs';
/** Pointers have some 130 bytes. */
const MAX_POINTER_NBYTES = 1024;

/** Whether Git left a note of a large file where the file should be. @param {string} path */
function isPointer(path) {
  const { size } = statSync(path);
  if (size < POINTER.length || size > MAX_POINTER_NBYTES) return false;
  const bytes = Buffer.alloc(POINTER.length);
  const file = openSync(path, 'r');
  try {
    readSync(file, bytes);
  } finally {
    closeSync(file);
  }
  return bytes.toString('latin1') === POINTER;
}

/**
 * Whether a checkpoint is one, as far as its names tell: what people download in place of it is told by its name.
 * @param {string} path as given: a folder, or a GGUF file
 */
export function checkCheckpoint(path) {
  const isFolder = statSync(path).isDirectory();
  const files = isFolder ? readdirSync(path).filter((name) => statSync(join(path, name)).isFile()) : [''];
  const pointer = files.find((name) => isPointer(join(path, name)));
  if (pointer !== undefined)
    throw new TansyError('TANSY_NOT_CHECKPOINT', `${join(path, pointer)} is Git's pointer to a large file, not the file: run \`git lfs pull\` in that folder, or download the file itself.`);
  if (path.endsWith('.safetensors')) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} holds weights alone: give the folder with its config.json.`);
  if (path.endsWith('.tansy')) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} is compressed already: give the checkpoint it was made of.`);
  if (!isFolder) return;
  if (files.includes('model.safetensors') || files.includes('model.safetensors.index.json') || files.includes('model.gguf.json')) {
    if (!files.includes('config.json')) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} is no checkpoint: it has no config.json.`);
    return;
  }
  const other = (/** @type {RegExp} */ pattern) => files.find((name) => pattern.test(name));
  const adapter = other(/^adapter_(model|config)\./);
  const gguf = other(/\.gguf$/);
  const shard = other(/^model-\d+-of-\d+\.safetensors$/);
  const python = other(/\.(bin|pth?|ckpt|h5|msgpack)$/);
  const advice =
    adapter !== undefined
      ? `${adapter} belongs to an adapter: merge it into its model first (merge_and_unload() of peft, then save_pretrained)`
      : shard !== undefined
        ? 'model.safetensors.index.json, which tells what is in which part, is missing: download it too'
        : gguf !== undefined
          ? `give the file itself: ${join(path, gguf)}`
          : python !== undefined
            ? `${python} is of another format: AutoModelForCausalLM.from_pretrained(…).save_pretrained(…) in Python writes safetensors`
            : files.includes('config.json')
              ? 'it has no model.safetensors'
              : 'it has no config.json';
  throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} is no checkpoint: ${advice}.`);
}
