/**
 * tokenizer_json.js: a tokenizer.json in words that @huggingface/tokenizers takes as Rust's tokenizers take the file's own.
 *
 * Several ways to cut a text mean something else to it (digits are ASCII, runs of punctuation stay together, "MergedWithNext" is "Isolated");
 * all of them can be said as expressions of Split. What cannot is refused by name: other cuts are other tokens, and a worse model.
 */

/** @typedef {{type: string, [key: string]: any}} Part */

const SPACE = '\\p{White_Space}';
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d';
const PUNCTUATION = '[\\p{P}$+<=>\\^`|~]';
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * @param {any} json of tokenizer.json; its parts are replaced, not changed
 * @returns {any}
 */
export function asRustReads(json) {
  const { model, added_tokens: added } = json;
  if (model?.type === 'BPE' && model.continuing_subword_prefix) throw unsupported('BPE with a continuing_subword_prefix');
  if (model?.type === 'Unigram' && model.byte_fallback) throw unsupported('Unigram with byte_fallback');
  if (added?.some((/** @type {any} */ token) => token?.single_word)) throw unsupported('a single_word token');
  return {
    normalizer: null,
    post_processor: null,
    ...json,
    added_tokens: added ?? [],
    pre_tokenizer: cuts(json.pre_tokenizer ?? null),
    decoder: joins(json.decoder ?? null),
  };
}

/**
 * What is read only nearly as Rust reads it, in words for who compresses the model.
 * @param {any} json of tokenizer.json
 * @returns {string[]}
 */
export function approximations({ normalizer }) {
  const parts = normalizer?.type === 'Sequence' ? (normalizer.normalizers ?? []) : [normalizer];
  return parts.some((/** @type {any} */ part) => part?.type === 'Precompiled') ? ['its Precompiled normalizer is taken for NFKC, which unusual characters may show'] : [];
}

/** @param {Part | null} part of pre_tokenizer @returns {Part | null} */
function cuts(part) {
  switch (part?.type) {
    case 'Sequence': return sequence(...(part.pretokenizers ?? []).map(cuts));
    case 'Split': return split(sourceOf(part.pattern), part.behavior, part.invert);
    case 'Digits': return split('\\p{N}', part.individual_digits ? 'Isolated' : 'Contiguous');
    case 'Punctuation': return split(PUNCTUATION, part.behavior ?? 'Isolated');
    case 'Whitespace': return split(`[${WORD}]+|[^${WORD}${SPACE}]+`, 'Removed', true);
    case 'ByteLevel': return part.add_prefix_space || part.use_regex === false ? part : sequence(split(GPT2, 'Isolated'), { ...part, use_regex: false });
    case 'Metaspace': {
      const whole = { ...part, prepend_scheme: prependScheme(part) };
      return part.split === false ? whole : sequence(whole, split(quoted(part.replacement ?? '▁'), 'MergedWithNext'));
    }
    default: return part;
  }
}

/** @param {Part | null} part of decoder @returns {Part | null} */
function joins(part) {
  if (part?.type === 'Sequence') return { ...part, decoders: (part.decoders ?? []).map(joins) };
  if (part?.type === 'Metaspace' && prependScheme(part) === 'never') return { type: 'Replace', pattern: { String: part.replacement ?? '▁' }, content: ' ' };
  return part;
}

/** Older files say add_prefix_space. @param {Part} metaspace @returns {string} */
const prependScheme = (metaspace) => metaspace.prepend_scheme ?? (metaspace.add_prefix_space === false ? 'never' : 'always');

/** @param {(Part | null)[]} parts @returns {Part} */
const sequence = (...parts) => ({ type: 'Sequence', pretokenizers: parts });

/**
 * @param {string} source of an expression
 * @param {string} behavior what becomes of its matches
 * @param {boolean} [invert] whether they are what lies between its matches
 * @returns {Part}
 */
function split(source, behavior, invert = false) {
  const match = `(?:${source})`;
  /** @type {Record<string, string>} */
  const isolated = {
    Isolated: match,
    Contiguous: `${match}+`,
    /* what is left at the end is one piece at once: looked for from every character it would take for ever */
    ...(invert ? {} : { MergedWithPrevious: `[\\s\\S]*?${match}|[\\s\\S]+`, MergedWithNext: `${match}[\\s\\S]*?(?=${match}|(?![\\s\\S]))` }),
  };
  const removed = behavior === 'Removed';
  const Regex = removed ? match : isolated[behavior];
  if (Regex === undefined) throw unsupported(`a Split that is ${invert ? 'inverted and ' : ''}${behavior}`);
  return { type: 'Split', pattern: { Regex }, behavior: removed ? behavior : 'Isolated', invert: removed && invert };
}

/** @param {any} pattern @returns {string} */
function sourceOf(pattern) {
  if (typeof pattern?.Regex === 'string') return pattern.Regex;
  if (typeof pattern?.String === 'string') return quoted(pattern.String);
  throw unsupported('a Split without a pattern');
}

/** @param {unknown} text @returns {string} an expression that matches it */
const quoted = (text) => String(text).replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** @param {string} what @returns {Error} */
const unsupported = (what) => new Error(`${what} is not supported`);
