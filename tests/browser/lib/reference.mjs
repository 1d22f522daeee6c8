// What Node gives for the same model and prompt; a page must give the same.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EMBEDDED_MODEL } from '../../../demo/embedded.js';
import { load } from '../../../js/index.js';
import { root } from './server.mjs';

/** The model that the repository ships. */
export const MODEL_PATH = `/demo/${EMBEDDED_MODEL}`;
export const PROMPT = 'Once upon a time';
export const GREEDY = Object.freeze({ temperature: 0, maxTokens: 40 });

for (const file of ['dist/tansy.js', 'dist/tansy.esm.js', 'dist/tansy-worker.js', 'dist/tansy-simd128.wasm'])
  if (!existsSync(join(root, file))) throw new Error(`${file} is missing: run \`npm run build\``);

/** @returns {Promise<{ text: string, ids: number[] }>} */
export async function nodeGreedy() {
  const model = await load(join(root, MODEL_PATH));
  const generation = model.generate(PROMPT, GREEDY);
  const text = await generation.text();
  model.dispose();
  return { text, ids: generation.ids };
}
