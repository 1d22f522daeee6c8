// tokenizers.js: two tiny tokenizers in the two ways language models spell bytes.

/** GPT-2's printable stand-ins for the 256 bytes. */
function byteCharacters() {
  const printable = [...Array(256).keys()].filter((b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
  let extra = 0;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable.includes(b) ? b : 256 + extra++));
}

/** Bytes and a few merges, as GPT-2 spells them. Token 0 ends the text. */
export function byteLevelTokenizer() {
  const characters = byteCharacters();
  const merges = [
    ['l', 'o'],
    ['Ġ', 'w'],
    ['e', 'x'],
  ];
  const tokens = ['<|end|>', ...characters, ...merges.map((pair) => pair.join(''))];
  const json = JSON.stringify({
    version: '1.0',
    added_tokens: [{ id: 0, content: '<|end|>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, i) => [token, i])), merges: merges.map((pair) => pair.join(' ')) },
  });
  return { json, config: JSON.stringify({ eos_token: '<|end|>' }), vocab: tokens.length };
}

/** Letters and `<0x..>` bytes with a leading "▁", as Llama spells them; the post-processor adds `<s>`. */
export function byteFallbackTokenizer() {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const letters = [...'▁abcdefghijklmnopqrstuvwxyz.,'];
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...letters];
  const special = (/** @type {number} */ id) => ({ id, content: tokens[id], single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
  const json = JSON.stringify({
    version: '1.0',
    added_tokens: [0, 1, 2].map(special),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: { type: 'BPE', unk_token: '<unk>', fuse_unk: true, byte_fallback: true, vocab: Object.fromEntries(tokens.map((token, i) => [token, i])), merges: [] },
  });
  return { json, config: JSON.stringify({ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' }), vocab: tokens.length };
}
