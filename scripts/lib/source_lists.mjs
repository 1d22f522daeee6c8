// Reads the plain lists that CMake reads: src/*/sources.cmake, wasm/flags.cmake, wasm/exports.txt.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './tools.mjs';

export const sourceDirs = ['base', 'codec', 'kernels', 'format', 'model', 'pack'];

/**
 * Lists of one file: `set(NAME item...)` and `list(APPEND NAME item...)`, nothing else.
 * @param {string} path relative to the root
 * @param {Record<string, string[]>} [lists] added to
 */
export function readLists(path, lists = {}) {
  const text = readFileSync(join(root, path), 'utf8').replace(/#.*/g, '');
  const rest = text.replace(/\b(set|list)\s*\(([^()]*)\)/gi, (_, command, body) => {
    const words = body.trim().split(/\s+/);
    if (/\$\{/.test(body)) throw new Error(`${path}: variables are not understood here: ${body.trim()}`);
    if (command.toLowerCase() === 'set') lists[words[0]] = words.slice(1);
    else if (words[0] === 'APPEND') lists[words[1]] = [...(lists[words[1]] ?? []), ...words.slice(2)];
    else throw new Error(`${path}: only list(APPEND ...) is understood here`);
    return '';
  });
  if (rest.trim()) throw new Error(`${path}: only set() and list(APPEND) are understood here, found: ${rest.trim().slice(0, 80)}`);
  return lists;
}

export function readSourceLists() {
  /** @type {Record<string, string[]>} */
  const lists = {};
  for (const dir of sourceDirs) readLists(`src/${dir}/sources.cmake`, lists);
  const all = (/** @type {string} */ suffix, dirs = sourceDirs) => dirs.flatMap((dir) => lists[`TANSY_${dir.toUpperCase()}_${suffix}`] ?? []);
  const coreDirs = sourceDirs.filter((dir) => dir !== 'pack');
  return {
    core: [...all('SOURCES', coreDirs), 'src/tansy.c', ...all('SIMD128_SOURCES', coreDirs)],
    relaxed: all('RELAXED_SOURCES', coreDirs),
    packlib: [...all('PACK_SOURCES', coreDirs), ...all('ENCODER_SOURCES', coreDirs), ...all('SOURCES', ['pack'])],
    packMain: lists.TANSY_PACK_MAIN_SOURCES ?? [],
  };
}

export function readFlags() {
  return readLists('wasm/flags.cmake');
}

export function readExports() {
  return readFileSync(join(root, 'wasm/exports.txt'), 'utf8').replace(/#.*/g, '').split(/\s+/).filter(Boolean);
}
