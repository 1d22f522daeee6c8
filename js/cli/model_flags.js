/** model_flags.js: flags that several commands share, with llama.cpp's names, and what they become. */

import { usageError } from './args.js';

/** @typedef {import('./args.js').Flag} Flag */

/** @type {Readonly<Record<string, Flag>>} */
export const MODEL_FLAGS = Object.freeze({
  model: { names: ['-m', '--model'], type: 'string', value: 'FILE_OR_URL', help: 'the .tansy file (required)' },
  memory: { names: ['--memory', '--memory-budget'], type: 'budget', value: 'BYTES|min|auto', help: 'most bytes of the whole heap, such as 64MB; min: as small as it gets; auto, when left out: fast, within what this machine can spare' },
  context: { names: ['-c', '--ctx-size'], type: 'integer', min: 0, value: 'N', help: "tokens of context; 0: the model's, as far as memory allows" },
  threads: { names: ['-t', '--threads'], type: 'integer', min: 0, max: 64, value: 'N', help: 'threads' },
  batch: { names: ['-b', '--batch-size'], type: 'integer', min: 1, max: 256, value: 'N', help: 'tokens of the prompt run together; 8 to 128, as suits the memory' },
  kv: { names: ['--kv'], type: 'choice', choices: ['int8', 'f16', 'f32'], help: 'form of the KV cache; int8' },
  residency: { names: ['--residency'], type: 'choice', choices: ['auto', 'ans', 'packed', 'int8'], help: 'form of the weights in the heap; auto: by --memory' },
  variant: { names: ['--variant'], type: 'choice', choices: ['simd128', 'relaxed'], help: 'WebAssembly module; the fastest this engine runs' },
  wasm: { names: ['--wasm'], type: 'string', value: 'FILE_OR_URL', help: 'WebAssembly module of your own' },
});

/**
 * The model may also come without -m, as `inspect` and `serve` take it.
 * @param {readonly string[]} positionals
 * @param {Record<string, any>} values
 */
export function takeModel([file], values) {
  if (file === undefined) return;
  if (values.model !== undefined) throw usageError(`there are two models: ${values.model} and ${file}; a prompt goes after -p.`);
  values.model = file;
}

/**
 * @param {Record<string, any>} values
 * @returns {import('../options.js').LoadOptions}
 */
export function loadOptions(values) {
  return {
    memoryBudget: values.memory,
    contextSize: values.context,
    threads: values.threads,
    batchSize: values.batch,
    kv: values.kv,
    residency: values.residency,
    variant: values.variant,
    wasmUrl: values.wasm,
  };
}

/** @type {Readonly<Record<string, Flag>>} */
export const SAMPLER_FLAGS = Object.freeze({
  temp: { names: ['--temp', '--temperature'], type: 'number', min: 0, max: 100, help: '0 is greedy; 0.8', group: 'Sampling' },
  topK: { names: ['--top-k'], type: 'integer', min: 0, help: '0 is off; 40', group: 'Sampling' },
  topP: { names: ['--top-p'], type: 'number', min: 0, max: 1, help: '1 is off; 0.95', group: 'Sampling' },
  minP: { names: ['--min-p'], type: 'number', min: 0, max: 1, help: '0 is off; 0.05', group: 'Sampling' },
  repeatPenalty: { names: ['--repeat-penalty'], type: 'number', min: 0.01, max: 100, help: '1 is off; 1', group: 'Sampling' },
  repeatLastN: { names: ['--repeat-last-n'], type: 'integer', min: 0, help: 'tokens the penalties look back; 64', group: 'Sampling' },
  presencePenalty: { names: ['--presence-penalty'], type: 'number', min: -100, max: 100, help: '0', group: 'Sampling' },
  frequencyPenalty: { names: ['--frequency-penalty'], type: 'number', min: -100, max: 100, help: '0', group: 'Sampling' },
  seed: { names: ['-s', '--seed'], type: 'integer', min: -1, max: Number.MAX_SAFE_INTEGER, help: '-1: a random one', group: 'Sampling' },
});

/**
 * @param {Record<string, any>} values
 * @returns {import('../options.js').SamplerOptions}
 */
export function samplerOptions(values) {
  const { temp, topK, topP, minP, repeatPenalty, repeatLastN, presencePenalty, frequencyPenalty, seed } = values;
  return {
    temperature: temp,
    topK,
    topP,
    minP,
    repeatPenalty,
    repeatLastN,
    presencePenalty,
    frequencyPenalty,
    seed: seed === undefined || seed < 0 ? undefined : seed,
  };
}
