/** bench.js: `tansy bench`: speed of prompt and generation, and where the heap's bytes go. */
import { writeFile } from 'node:fs/promises';

import { TansyError, load } from '../index.js';
import { formatBytes } from '../units.js';
import { usageError } from './args.js';
import { curveSvg, curveTable, memoryCurve } from './memory_curve.js';
import { MODEL_FLAGS, loadOptions, takeModel } from './model_flags.js';
import { Figures, StatusLine, loadProgress, printJson, round, table } from './output.js';
import { checkOutput } from './paths.js';
import { profileOf } from './profile.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'bench',
  summary: 'Measures prompt and generation speed with made-up tokens, after a warm-up; medians of the repetitions.',
  usage: '-m FILE_OR_URL [flags]',
  positionals: [0, 1],
  flags: {
    ...MODEL_FLAGS,
    nPrompt: { names: ['-p', '--n-prompt'], type: 'integer', min: 1, help: 'tokens of the prompt; 128, or what the context holds', group: 'Work' },
    nGen: { names: ['-n', '--n-gen'], type: 'integer', min: 1, help: 'tokens to generate; 64, or what the context holds', group: 'Work' },
    repetitions: { names: ['-r', '--repetitions'], type: 'integer', min: 1, max: 1000, help: '3', group: 'Work' },
    memoryCurve: { names: ['--memory-curve'], type: 'flag', help: 'speed against memory instead, predicted and measured, from the smallest memory to all int8', group: 'Work' },
    plot: { names: ['--plot'], type: 'string', value: 'OUT.svg', help: 'draw the memory curve', group: 'Work' },
    profile: { names: ['--profile'], type: 'flag', help: 'where the time of generated tokens goes, by part of the engine', group: 'Work' },
  },
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ positionals, values }, signal) {
  takeModel(positionals, values);
  if (values.model === undefined) throw usageError('-m FILE_OR_URL is required.');
  if (values.plot !== undefined && !values.memoryCurve) throw usageError('--plot draws the curve of --memory-curve.');
  const line = new StatusLine(!values.json);
  if (values.memoryCurve) return runCurve(values, signal, line);
  const loadStarted = performance.now();
  const model = await load(values.model, { ...loadOptions(values), signal, onProgress: loadProgress(line) });
  const loadSeconds = (performance.now() - loadStarted) / 1000;
  const half = Math.floor(model.contextSize / 2);
  const nPrompt = values.nPrompt ?? Math.min(128, half);
  const nGen = values.nGen ?? Math.min(64, half);
  if (nPrompt + nGen > model.contextSize + 1)
    throw new TansyError('TANSY_CONTEXT', `${nPrompt} tokens of the prompt and ${nGen} after them exceed the context of ${model.contextSize}; lower -p or -n, or raise -c.`);
  const repetitions = values.repetitions ?? 3;
  const ids = madeUpIds(nPrompt, model.config.vocab);

  const once = async (/** @type {number} */ n, anew = true) => {
    if (anew) model.reset();
    await model.generate(ids, { temperature: 0, maxTokens: n, ignoreEos: true, speculate: false, signal }).text();
    return model.stats();
  };
  line.show('warming up');
  await once(Math.min(nGen, 8));
  const prefill = [];
  const decode = [];
  for (let i = 0; i < repetitions; i++) {
    line.show(`repetition ${i + 1} of ${repetitions}`);
    const stats = await once(nGen);
    prefill.push(stats.prefillTokS);
    decode.push(stats.decodeTokS);
  }
  let profile;
  if (values.profile) {
    line.show('profiling');
    /* the prompt is in the cache: only its last token is run again */
    await once(1, false);
    profile = await profileOf(() => once(nGen, false));
  }
  line.clear();
  const figures = new Figures(model);
  const result = {
    ...figures.json,
    tokens: nGen,
    prompt_tokens: nPrompt,
    prefill_tok_s: round(median(prefill)),
    decode_tok_s: round(median(decode)),
    load_s: round(loadSeconds),
    repetitions,
    ...(profile === undefined ? {} : { profile }),
  };
  if (values.json) printJson(result);
  else {
    const rows = Object.entries(figures.stats.memory).map(([kind, nbytes]) => [kind, formatBytes(nbytes)]);
    process.stdout.write(
      `prompt      ${result.prefill_tok_s.toFixed(1)} tok/s (${nPrompt} tokens)\n` +
        `generation  ${result.decode_tok_s.toFixed(1)} tok/s (${nGen} tokens)\n` +
        `load        ${result.load_s.toFixed(2)} s\n` +
        `module      ${result.variant}\n` +
        `file        ${formatBytes(result.file_bytes)}, ${result.bits_per_weight.toFixed(3)} bits per weight\n` +
        `heap        ${formatBytes(result.heap_bytes)}, of it\n\n` +
        table(['', ''], rows, [false, true]).trimStart().replace(/^/gm, '  ').trimEnd() +
        '\n',
    );
    if (profile !== undefined) process.stdout.write(profileText(profile, nGen));
  }
  model.dispose();
}

/**
 * @param {import('./profile.js').Profile} profile
 * @param {number} nTokens
 */
function profileText({ parts, functions, milliseconds }, nTokens) {
  const rows = (/** @type {{name: string, share: number}[]} */ list) =>
    table(['', '% of the time', 'ms a token'], list.map(({ name, share }) => [name, (100 * share).toFixed(1), ((share * milliseconds) / nTokens).toFixed(3)]), [false, true, true]);
  const named = parts.filter(({ share }) => share >= 0.0005).map(({ part, share }) => ({ name: part, share }));
  return `\na generated token\n${rows(named)}\n${rows(functions)}`;
}

/**
 * @param {Record<string, any>} values
 * @param {AbortSignal} signal
 * @param {StatusLine} line
 */
async function runCurve(values, signal, line) {
  const { memoryBudget, residency } = loadOptions(values);
  if (memoryBudget !== undefined || residency !== undefined) throw usageError('--memory-curve tries all budgets itself: leave out --memory and --residency.');
  if (values.plot !== undefined) checkOutput(values.plot, '--plot');
  const onPoint = (/** @type {number} */ i, /** @type {number} */ n) => line.show(`memory ${i + 1} of ${n}`);
  const curve = await memoryCurve(values.model, loadOptions(values), { signal, repetitions: values.repetitions ?? 3, onPoint });
  line.clear();
  if (values.plot !== undefined) {
    try {
      await writeFile(values.plot, curveSvg(curve.points, `${values.model.split('/').at(-1)}: speed against memory`));
    } catch (error) {
      throw new TansyError('TANSY_IO', `${values.plot} cannot be written (${/** @type {NodeJS.ErrnoException} */ (error).code}); check the folder and its permissions.`, {}, error);
    }
  }
  if (values.json) printJson(curve);
  else process.stdout.write(curveTable(curve));
}

/**
 * Ids spread over the vocabulary; the same for every run.
 * @param {number} n
 * @param {number} vocab
 */
function madeUpIds(n, vocab) {
  let x = 12345;
  return Array.from({ length: n }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return (x >>> 8) % vocab;
  });
}

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
