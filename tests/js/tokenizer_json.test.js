// How texts are cut, by every kind of pre-tokenizer that tokenizer.json knows: as Rust's tokenizers (0.13) cut them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tokenizer } from '../../js/tokenizer.js';

/**
 * A tokenizer that merges whatever is not cut: every piece of the text is a token.
 * @param {string} text @param {any} preTokenizer @param {Record<string, unknown>} [more]
 */
function greedy(text, preTokenizer, more = {}) {
  const characters = [...`▁${text}`];
  const spelled = characters.map((c) => (c === ' ' ? '▁' : c));
  const tokens = new Set([...characters, ...spelled]);
  /** @type {[string, string][]} */
  const merges = [];
  for (const row of [characters, spelled])
    for (let length = 2; length <= row.length; length++)
      for (let at = 0; at + length <= row.length; at++) {
        const parts = row.slice(at, at + length);
        tokens.add(parts.join(''));
        for (let cut = 1; cut < length; cut++) merges.push([parts.slice(0, cut).join(''), parts.slice(cut).join('')]);
      }
  const vocab = Object.fromEntries([...tokens].map((token, i) => [token, i]));
  const json = { added_tokens: [], pre_tokenizer: preTokenizer, decoder: null, model: { type: 'BPE', unk_token: null, vocab, merges }, ...more };
  return { json, list: [...tokens] };
}

/** @param {string} text @param {any} preTokenizer */
function pieces(text, preTokenizer) {
  const { json, list } = greedy(text, preTokenizer);
  return new Tokenizer(JSON.stringify(json), undefined, list.length).encode(text, false).map((id) => list[id]);
}

const regex = (/** @type {string} */ Regex, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern: { Regex }, behavior, invert });
const string = (/** @type {string} */ String, /** @type {string} */ behavior) => ({ type: 'Split', pattern: { String }, behavior, invert: false });

/** @type {[string, any, string[]][]} */
const CUTS = [
  ['a1٣½b', { type: 'Digits', individual_digits: true }, ['a', '1', '٣', '½', 'b']],
  ['a12٣b', { type: 'Digits', individual_digits: false }, ['a', '12٣', 'b']],
  ['ab...!', { type: 'Punctuation' }, ['ab', '.', '.', '.', '!']],
  ['ab..!c', { type: 'Punctuation', behavior: 'Contiguous' }, ['ab', '..!', 'c']],
  ['a$.b«', { type: 'Punctuation', behavior: 'MergedWithPrevious' }, ['a$', '.', 'b«']],
  ['a,b.', { type: 'Punctuation', behavior: 'Removed' }, ['a', 'b']],
  ['the-final--part', regex('-'), ['the', '-', 'final', '-', '-', 'part']],
  ['the-final--part', regex('-', 'Removed'), ['the', 'final', 'part']],
  ['the-final--part', regex('-', 'MergedWithPrevious'), ['the-', 'final-', '-', 'part']],
  ['the-final--part', regex('-', 'MergedWithNext'), ['the', '-final', '-', '-part']],
  ['the-final--part', regex('-', 'Contiguous'), ['the', '-', 'final', '--', 'part']],
  ['a1b, c', regex('\\p{L}+', 'Isolated', true), ['a', '1', 'b', ', ', 'c']],
  ['a1b, c', regex('\\p{L}+', 'Removed', true), ['a', 'b', 'c']],
  ['a|b..c', string('.', 'MergedWithPrevious'), ['a|b.', '.', 'c']],
  ['a|b||c', string('|', 'MergedWithNext'), ['a', '|b', '|', '|c']],
  ['naïve x² _1', { type: 'Whitespace' }, ['naïve', 'x', '²', '_1']],
  ['a \tb', { type: 'WhitespaceSplit' }, ['a', 'b']],
  ['no, "yes"', { type: 'BertPreTokenizer' }, ['no', ',', '"', 'yes', '"']],
  ['a  bc', { type: 'Metaspace', replacement: '▁', add_prefix_space: true }, ['▁a', '▁', '▁bc']],
  ['a  bc', { type: 'Metaspace', replacement: '▁', add_prefix_space: false }, ['a', '▁', '▁bc']],
  ['a  bc', { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false }, ['▁a▁▁bc']],
  ['a  bc', { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: true }, ['a', '▁', '▁bc']],
  ['ab', null, ['ab']],
];
for (const [text, preTokenizer, expected] of CUTS)
  test(`${JSON.stringify(text)} by ${JSON.stringify(preTokenizer)}`, () => {
    assert.deepEqual(pieces(text, preTokenizer), expected);
    assert.deepEqual(pieces(text, { type: 'Sequence', pretokenizers: [preTokenizer] }), expected, 'in a sequence');
  });

test('a long text without a match is cut as fast as any', () => {
  const long = 'ab'.repeat(200000);
  for (const behavior of ['MergedWithPrevious', 'MergedWithNext'])
    for (const text of [long, `-${long}`, `${long}-`]) {
      const { json, list } = greedy('ab-', string('-', behavior));
      const ids = new Tokenizer(JSON.stringify({ ...json, model: { ...json.model, merges: [] } }), undefined, list.length, 5000).encode(text, false);
      assert.equal(ids.length, text.length);
    }
});

test('a byte order mark belongs to the punctuation, as it does to Rust', () => {
  const text = 'ï»¿!';
  const { json, list } = greedy(text, { type: 'ByteLevel', add_prefix_space: false, use_regex: true });
  const ids = new Tokenizer(JSON.stringify(json), undefined, list.length).encode('\ufeff!', false);
  assert.deepEqual(ids.map((id) => list[id]), [text]);
});

test('Metaspace that adds no space takes none away', () => {
  const { json, list } = greedy(' a', { type: 'Metaspace', prepend_scheme: 'never', split: false });
  for (const [scheme, text] of [['never', ' a'], ['always', 'a']]) {
    const tokenizer = new Tokenizer(JSON.stringify({ ...json, decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme } }), undefined, list.length);
    assert.equal(tokenizer.decode(tokenizer.encode(' a', false), false), text);
  }
});

for (const [what, words, edit] of /** @type {[string, RegExp, (json: any) => void][]} */ ([
  ['a Split that nobody knows', /Backwards/, (j) => void (j.pre_tokenizer = regex('-', 'Backwards'))],
  ['an inverted Split that merges', /inverted and MergedWithNext/, (j) => void (j.pre_tokenizer = regex('-', 'MergedWithNext', true))],
  ['a Split without a pattern', /without a pattern/, (j) => void (j.pre_tokenizer = { type: 'Split', behavior: 'Isolated' })],
  ['scripts', /UnicodeScripts/, (j) => void (j.pre_tokenizer = { type: 'UnicodeScripts' })],
  ['a normalizer', /Nmt/, (j) => void (j.normalizer = { type: 'Nmt' })],
  ['a prefix within words', /continuing_subword_prefix/, (j) => void (j.model.continuing_subword_prefix = '##')],
  ['bytes in Unigram', /Unigram with byte_fallback/, (j) => void (j.model = { type: 'Unigram', unk_id: 0, byte_fallback: true, vocab: [['<unk>', 0]] })],
  ['a token that is a word', /single_word/, (j) => void j.added_tokens.push({ id: 0, content: 'x', single_word: true })],
]))
  test(`refused by name: ${what}`, () => {
    const { json, list } = greedy('ab', null);
    edit(json);
    assert.throws(() => new Tokenizer(JSON.stringify(json), undefined, list.length), { code: 'TANSY_TOKENIZER', message: words });
  });
