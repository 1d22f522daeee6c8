/**
 * pretokenizers.js: how byte-level BPE models cut text before they merge, by tokenizer.ggml.pre.
 *
 * The expressions are those of the models' own tokenizer.json files.
 */

const LETTERS_GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/** GPT-4's, with numbers of at most so many digits. @param {string} digits */
const letters = (digits) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
/** GPT-4o's: words end where small letters are followed by capitals. @param {string} digits @param {string} ending */
const cased = (digits, ending) =>
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+${ending}|` +
  `[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*${ending}|` +
  `\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** @typedef {{splits: string[], nfc?: boolean, wholeWords?: boolean, bos?: boolean}} PreTokenizer `wholeWords`: a piece that is a token stays whole, whatever the merges say */

/** @type {[string[], PreTokenizer][]} */
const KINDS = [
  [['gpt-2', 'mpt', 'olmo', 'jais', 'phi-2', 'gigachat'], { splits: [LETTERS_GPT2] }],
  [['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'], { splits: ['\\p{N}', LETTERS_GPT2] }],
  [['llama3', 'llama-v3', 'llama-bpe', 'falcon3', 'falcon-h1', 'pixtral'], { splits: [letters('{1,3}')], wholeWords: true, bos: true }],
  [['dbrx', 'smaug-bpe', 'chatglm-bpe'], { splits: [letters('{1,3}')] }],
  [['qwen2', 'deepseek-r1-qwen', 'megrez', 'stablelm2'], { splits: [letters('')], nfc: true }],
  [['tekken'], { splits: [cased('', '')], wholeWords: true, bos: true }],
  [['gpt-4o', 'llama4'], { splits: [cased('{1,3}', "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")] }],
  [['default'], { splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', LETTERS_GPT2, '\\p{N}+', '[0-9][0-9][0-9]'] }],
];

/** @type {Map<string, PreTokenizer>} */
const BY_NAME = new Map(KINDS.flatMap(([names, kind]) => names.map((name) => [name, kind])));

/** @param {string} name @returns {PreTokenizer | undefined} */
export function preTokenizer(name) {
  return BY_NAME.get(name);
}

export const PRE_TOKENIZERS = [...BY_NAME.keys()];
