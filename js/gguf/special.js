/** special.js: tokens with a meaning of their own, by the metadata of a GGUF file. */

/** tokenizer.ggml.token_type */
export const NORMAL = 1;
export const UNKNOWN = 2;
export const CONTROL = 3;
export const USER_DEFINED = 4;
export const BYTE = 6;

/** How models spell the end of a turn; files often name only one of their ends. */
const TURN_ENDS = ['<|eot_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>', '<|eom_id|>'];
/** What the container has room for. */
const MAX_ENDS = 5;

/**
 * Ids that end a text, the file's own first.
 * @param {import('./metadata.js').Metadata} metadata
 * @returns {number[]}
 */
export function endTokens(metadata) {
  const ids = ['eos', 'eot', 'eom'].map((name) => metadata.integer(`tokenizer.ggml.${name}_token_id`)).filter((id) => id !== undefined);
  if (metadata.has('tokenizer.ggml.tokens') && metadata.has('tokenizer.ggml.token_type')) {
    const tokens = metadata.strings('tokenizer.ggml.tokens');
    const types = metadata.numbers('tokenizer.ggml.token_type', tokens.length);
    for (const [id, token] of tokens.entries()) if (TURN_ENDS.includes(token) && types[id] === CONTROL) ids.push(id);
  }
  return [...new Set(ids)].slice(0, MAX_ENDS);
}
