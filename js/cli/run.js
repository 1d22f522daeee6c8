/** run.js: `tansy run`: continues a text. */
import { createWriteStream, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';

import { TansyError, load } from '../index.js';
import { usageError } from './args.js';
import { MODEL_FLAGS, SAMPLER_FLAGS, loadOptions, samplerOptions, takeModel } from './model_flags.js';
import { Figures, StatusLine, loadProgress, printJson, printable } from './output.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'run',
  summary: 'Continues a prompt, printing the text as it comes, then bits per weight, heap bytes and speed.',
  usage: '-m FILE_OR_URL -p PROMPT [flags]',
  positionals: [0, 1],
  flags: {
    ...MODEL_FLAGS,
    prompt: { names: ['-p', '--prompt'], type: 'string', value: 'TEXT', help: 'the text to continue', group: 'Prompt' },
    file: { names: ['-f', '--file'], type: 'string', value: 'FILE', help: 'the prompt from a file; - is stdin', group: 'Prompt' },
    ids: { names: ['--ids'], type: 'ids', value: '1,2,3', help: 'the prompt as token ids', group: 'Prompt' },
    chat: { names: ['--chat'], type: 'flag', help: "put the prompt into the model's chat template", group: 'Prompt' },
    system: { names: ['--system'], type: 'string', value: 'TEXT', help: 'system message of --chat', group: 'Prompt' },
    predict: { names: ['-n', '--n-predict', '--predict'], type: 'integer', min: -1, help: 'most tokens to generate; -1: until the end', group: 'Output' },
    stop: { names: ['-r', '--stop', '--reverse-prompt'], type: 'list', value: 'TEXT', help: 'end before this text; may be repeated', group: 'Output' },
    ignoreEos: { names: ['--ignore-eos'], type: 'flag', help: 'go on past the end of the text', group: 'Output' },
    quiet: { names: ['-q', '--quiet', '--no-display-prompt'], type: 'flag', help: 'only the generated text', group: 'Output' },
    logits: { names: ['--logits'], type: 'string', value: 'OUT.f32', help: 'write the logits of every prompt position (float32, [tokens, vocabulary]) instead', group: 'Output' },
    ...SAMPLER_FLAGS,
  },
  notes: ['JSON: text, tokens, ids, finish_reason, prompt_tokens, prefill_tok_s, decode_tok_s, heap_bytes, memory (bytes by kind), bits_per_weight, …'],
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ positionals, values }, signal) {
  takeModel(positionals, values);
  if (values.model === undefined) throw usageError('-m FILE_OR_URL is required.');
  const given = ['prompt', 'file', 'ids'].filter((key) => values[key] !== undefined);
  if (given.length === 0) throw usageError('a prompt is required: -p TEXT, -f FILE or --ids 1,2,3.');
  if (given.length > 1) throw usageError('give one prompt only: -p, -f or --ids.');
  if (values.chat && values.ids) throw usageError('--chat needs a text, not --ids.');
  if (values.system !== undefined && !values.chat) throw usageError('--system needs --chat.');

  const line = new StatusLine(!values.json);
  const model = await load(values.model, { ...loadOptions(values), signal, onProgress: loadProgress(line) });
  line.clear();
  const prompt = values.ids ?? (values.file === undefined ? values.prompt : await readPrompt(values.file));
  if (values.logits !== undefined) {
    const ids = typeof prompt === 'string' ? model.tokenize(prompt, { addBos: true }) : prompt;
    await writeLogits(model, ids, values.logits, signal);
    if (values.json) printJson({ ...new Figures(model).json, tokens: ids.length, ids, vocab: model.config.vocab, logits: values.logits });
    return;
  }

  let input = prompt;
  if (values.chat) {
    const system = values.system === undefined ? [] : [{ role: 'system', content: values.system }];
    input = model.applyChatTemplate([...system, { role: 'user', content: prompt }]).ids;
  }
  const maxTokens = values.predict === undefined || values.predict < 0 ? undefined : values.predict;
  const stop = values.stop?.map(unescape);
  const generation = model.generate(input, { ...samplerOptions(values), maxTokens, stop, ignoreEos: values.ignoreEos, signal });
  const show = !values.json;
  /* the prompt is shown with the first piece: when something is wrong with it, stdout stays empty */
  let before = show && !values.quiet && typeof prompt === 'string' && !values.chat ? prompt : '';
  let text = '';
  for await (const piece of generation) {
    text += piece;
    if (show && !process.stdout.write(before + (process.stdout.isTTY ? printable(piece) : piece))) await once(process.stdout, 'drain');
    before = '';
  }
  if (before !== '') process.stdout.write(before);
  const figures = new Figures(model);
  if (values.json) {
    printJson({
      text: model.hasTokenizer ? text : null,
      ...figures.json,
      tokens: generation.ids.length,
      prompt_tokens: generation.promptIds.length,
      ids: generation.ids,
      finish_reason: generation.finishReason,
    });
  } else {
    if (!model.hasTokenizer) process.stdout.write(generation.ids.join(','));
    process.stdout.write('\n');
    if (!values.quiet) process.stdout.write(`\n${figures.text}\n`);
  }
  model.dispose();
}

/** @param {string} path */
async function readPrompt(path) {
  try {
    return path === '-' ? readFileSync(0, 'utf8') : await readFile(path, 'utf8');
  } catch (error) {
    throw new TansyError('TANSY_NOT_FOUND', `The prompt file ${path} cannot be read (${/** @type {NodeJS.ErrnoException} */ (error).code}); check the path.`, {}, error);
  }
}

/**
 * @param {import('../model.js').Model} model
 * @param {number[]} ids
 * @param {string} path
 * @param {AbortSignal} signal
 */
async function writeLogits(model, ids, path, signal) {
  const out = createWriteStream(path);
  try {
    /* 'error' may come at any time; it is looked at after each write */
    /** @type {Error | undefined} */
    let failure;
    out.on('error', (error) => (failure = error));
    for await (const { rows } of model.logitRows(ids, { signal })) {
      /* the rows are overwritten by the next step, and wasm is little-endian whatever this machine is */
      const bytes = Buffer.from(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength));
      await new Promise((resolve) => out.write(bytes, resolve));
      if (failure !== undefined) throw failure;
    }
    await new Promise((resolve) => out.end(resolve));
    if (failure !== undefined) throw failure;
  } catch (error) {
    out.destroy();
    if (error instanceof TansyError) throw error;
    throw new TansyError('TANSY_IO', `${path} cannot be written (${/** @type {NodeJS.ErrnoException} */ (error).code}); check the folder and its permissions.`, {}, error);
  }
}

/** `\n` and `\t` as typed in a shell. @param {string} text */
function unescape(text) {
  return text.replace(/\\([nt\\])/g, (_, c) => (c === 'n' ? '\n' : c === 't' ? '\t' : '\\'));
}
