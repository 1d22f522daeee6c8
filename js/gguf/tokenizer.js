/**
 * tokenizer.js: tokenizer.ggml.* of a GGUF file as the tokenizer.json and tokenizer_config.json that @huggingface/tokenizers reads.
 *
 * "gpt2" is byte-level BPE with a list of merges. "llama" is SentencePiece's BPE, which merges the pair that makes the token
 * of the best score; as merges, in the order of the scores, that is the same. Pieces without a token become byte tokens.
 */
import { PRE_TOKENIZERS, preTokenizer } from './pretokenizers.js';
import { BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED } from './special.js';

const SPACE = '▁';
/** Beyond this a token of the llama model, which is cut in two everywhere, would take seconds. */
const MAX_TOKEN_LENGTH = 1024;
/** Of cutting all of them, in characters: seconds, and a hundred times what real vocabularies take. */
const MAX_CUTTING = 2 ** 30;

/** @typedef {{json: Record<string, any>, config: Record<string, any>}} TokenizerFiles */
/** @typedef {{tokens: string[], types: number[], ids: Map<string, number>}} Vocabulary */

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch
 * @returns {TokenizerFiles | undefined} undefined where the file has no tokenizer
 */
export function makeTokenizer(metadata, arch) {
  const model = metadata.string('tokenizer.ggml.model');
  if (model === undefined || model === 'none') return undefined;
  const vocabulary = readVocabulary(metadata);
  const parts = model === 'gpt2' ? byteLevel(metadata, vocabulary) : model === 'llama' ? sentencePiece(metadata, vocabulary) : undefined;
  if (parts === undefined) throw metadata.unsupported(`tokenizer model "${model}" is not supported (supported: gpt2, llama).`);
  const { addBos, ...rest } = parts;
  const added = addedTokens(vocabulary, arch === 'phi3' && model === 'llama'); // Phi-3, not Phi-4-mini
  const config = makeConfig(metadata, vocabulary, addBos);
  const before = config.add_bos_token ? config.bos_token : undefined;
  const after = config.add_eos_token ? config.eos_token : undefined;
  return { json: { version: '1.0', truncation: null, padding: null, added_tokens: added, post_processor: around(vocabulary, before, after), ...rest }, config };
}

/** @param {import('./metadata.js').Metadata} metadata @returns {Vocabulary} */
function readVocabulary(metadata) {
  const tokens = metadata.strings('tokenizer.ggml.tokens');
  const types = metadata.has('tokenizer.ggml.token_type') ? metadata.numbers('tokenizer.ggml.token_type', tokens.length) : tokens.map(() => NORMAL);
  const ids = new Map();
  for (const [id, token] of tokens.entries()) {
    if (token.length > MAX_TOKEN_LENGTH) throw metadata.unsupported(`token ${id} has ${token.length} characters; at most ${MAX_TOKEN_LENGTH} are supported.`);
    if (ids.has(token)) throw metadata.unsupported(`tokens ${ids.get(token)} and ${id} are both ${JSON.stringify(token)}.`);
    ids.set(token, id);
  }
  return { tokens, types, ids };
}

/** @param {import('./metadata.js').Metadata} metadata @param {Vocabulary} vocabulary */
function byteLevel(metadata, vocabulary) {
  const name = metadata.string('tokenizer.ggml.pre') ?? 'default';
  const pre = preTokenizer(name);
  if (pre === undefined) throw metadata.unsupported(`pre-tokenizer "${name}" is not supported (supported: ${PRE_TOKENIZERS.join(', ')}).`);
  return {
    addBos: pre.bos === true,
    normalizer: pre.nfc ? { type: 'NFC' } : null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...pre.splits.map((regex) => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false })),
        { type: 'ByteLevel', add_prefix_space: metadata.flag('tokenizer.ggml.add_space_prefix') === true, trim_offsets: true, use_regex: false },
      ],
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false,
      ignore_merges: pre.wholeWords === true,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: metadata.strings('tokenizer.ggml.merges'),
    },
  };
}

/** @param {import('./metadata.js').Metadata} metadata @param {Vocabulary} vocabulary */
function sentencePiece(metadata, vocabulary) {
  const prefix = metadata.flag('tokenizer.ggml.add_space_prefix') ?? true;
  const { tokens, types, ids } = vocabulary;
  const scores = metadata.numbers('tokenizer.ggml.scores', tokens.length);
  const unknown = metadata.integer('tokenizer.ggml.unknown_token_id') ?? types.indexOf(UNKNOWN);
  if (tokens.reduce((sum, { length }) => sum + length * length, 0) > MAX_CUTTING) throw metadata.unsupported('its vocabulary has too many long tokens.');
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const merges = mergesOf(vocabulary, scores);
  return {
    addBos: true,
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spaces] } : spaces,
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE', dropout: null, unk_token: tokens[unknown] ?? null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true,
      byte_fallback: types.includes(BYTE), ignore_merges: false,
      vocab: Object.fromEntries(ids),
      /* the short form has a space between the two */
      merges: merges.some(([a, b]) => a.includes(' ') || b.includes(' ')) ? merges : merges.map((pair) => pair.join(' ')),
    },
  };
}

/**
 * Every way to make a token of two others, the best score first; of one token's ways first the one whose parts came first.
 * @param {Vocabulary} vocabulary
 * @param {number[]} scores
 * @returns {[string, string][]}
 */
function mergesOf({ tokens, types, ids }, scores) {
  /** @type {{score: number, left: number, right: number}[]} */
  const merges = [];
  for (const [id, token] of tokens.entries()) {
    if (types[id] === CONTROL || types[id] === UNKNOWN || types[id] === BYTE) continue;
    const ways = [];
    for (let at = 1; at < token.length; at++) {
      const unit = token.charCodeAt(at);
      if (unit >= 0xdc00 && unit < 0xe000) continue; // the middle of a character
      const left = ids.get(token.slice(0, at));
      const right = left === undefined ? undefined : ids.get(token.slice(at));
      if (left !== undefined && right !== undefined) ways.push({ score: scores[id], left, right });
    }
    merges.push(...ways.sort((a, b) => a.left - b.left || a.right - b.right));
  }
  merges.sort((a, b) => b.score - a.score); // stable
  return merges.map(({ left, right }) => [tokens[left], tokens[right]]);
}

/**
 * Tokens that are found in the text before anything else.
 * @param {Vocabulary} vocabulary
 * @param {boolean} swallowSpace Phi-3's take the space after them, but for its first ones; no metadata says so
 */
function addedTokens({ tokens, types }, swallowSpace) {
  const added = [];
  for (const [id, content] of tokens.entries()) {
    const special = types[id] === CONTROL || types[id] === UNKNOWN;
    if ((!special && types[id] !== USER_DEFINED) || content === '') continue;
    const rstrip = swallowSpace && !['<unk>', '<s>', '<|endoftext|>'].includes(content);
    added.push({ id, content, single_word: false, lstrip: false, rstrip, normalized: false, special });
  }
  return added;
}

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {Vocabulary} vocabulary
 * @param {boolean} addBos where the file does not say
 */
function makeConfig(metadata, { tokens }, addBos) {
  /** @type {Record<string, any>} */
  const config = { clean_up_tokenization_spaces: false };
  for (const [name, key] of [['bos', 'bos'], ['eos', 'eos'], ['unk', 'unknown'], ['pad', 'padding']]) {
    const id = metadata.integer(`tokenizer.ggml.${key}_token_id`);
    if (id !== undefined && id >= tokens.length && id !== 0xffffffff) throw metadata.unsupported(`tokenizer.ggml.${key}_token_id = ${id}, but there are ${tokens.length} tokens.`);
    if (id !== undefined && id < tokens.length) config[`${name}_token`] = tokens[id];
  }
  config.add_bos_token = config.bos_token !== undefined && (metadata.flag('tokenizer.ggml.add_bos_token') ?? addBos);
  config.add_eos_token = config.eos_token !== undefined && (metadata.flag('tokenizer.ggml.add_eos_token') ?? false);
  const template = metadata.string('tokenizer.chat_template');
  if (template !== undefined) config.chat_template = template;
  return config;
}

/**
 * The post-processor that puts tokens before and after a text.
 * @param {Vocabulary} vocabulary
 * @param {string | undefined} before
 * @param {string | undefined} after
 */
function around({ ids }, before, after) {
  if (before === undefined && after === undefined) return null;
  /** @param {string | undefined} token */
  const special = (token) => (token === undefined ? [] : [{ SpecialToken: { id: token, type_id: 0 } }]);
  const single = [...special(before), { Sequence: { id: 'A', type_id: 0 } }, ...special(after)];
  /** @type {Record<string, unknown>} */
  const used = {};
  for (const token of [before, after]) if (token !== undefined) used[token] = { id: token, ids: [ids.get(token)], tokens: [token] };
  return { type: 'TemplateProcessing', single, pair: [...single, { Sequence: { id: 'B', type_id: 0 } }], special_tokens: used };
}
