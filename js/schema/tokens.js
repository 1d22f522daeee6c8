/**
 * tokens.js: the bytes of every token, and a trie of them that finds the tokens a matcher allows without trying each.
 */
import { TansyError } from '../errors.js';

/** GPT-2's printable stand-ins for the 256 bytes, backwards. */
function byteOfCharacter() {
  /** @type {Map<string, number>} */
  const map = new Map();
  let extra = 0;
  for (let byte = 0; byte < 256; byte++) {
    const isItself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    map.set(String.fromCharCode(isItself ? byte : 256 + extra++), byte);
  }
  return map;
}

/** Decoders that only join tokens or trim the whole text, and say nothing of a token's bytes. */
const NEUTRAL = new Set(['Fuse', 'Strip', 'ByteFallback']);

/** Longer tokens are never generated into a format, nor read from a file that is not hostile. */
const MAX_TOKEN_NBYTES = 1024;

/** Of all tokens; those of a large vocabulary have some three million. */
const MAX_TRIE_NBYTES = 1 << 26;
/** Real ones put one character in place of another. */
const MAX_REPLACEMENT = 16;

/** Every token as bytes. */
export class TokenTable {
  /** @type {(Uint8Array | undefined)[]} undefined: no such token */
  #bytes;
  /** @type {Set<number>} ids that stand for no text, such as BOS */
  #special = new Set();
  /** @type {TokenTrie | undefined} */
  #trie;

  /**
   * @param {string} tokenizerJson
   * @param {number} vocab rows of the embedding
   */
  constructor(tokenizerJson, vocab) {
    this.#bytes = new Array(vocab).fill(undefined); // embeddings may have rows without a token
    try {
      this.#read(JSON.parse(tokenizerJson), vocab);
    } catch (error) {
      if (error instanceof TansyError) throw error;
      throw new TansyError('TANSY_TOKENIZER', `The model's tokenizer.json cannot be used: ${/** @type {Error} */ (error).message}. Generate without response_format and logprobs.`, {}, error);
    }
  }

  /**
   * @param {any} json
   * @param {number} vocab
   */
  #read({ model, decoder, added_tokens: added = [] }, vocab) {
    const decode = tokenDecoder(decoder);
    const isId = (/** @type {unknown} */ id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocab;
    /** @type {[string, number][]} */
    const entries = Array.isArray(model.vocab) ? model.vocab.map((/** @type {[string, number]} */ [token], /** @type {number} */ id) => [token, id]) : Object.entries(model.vocab);
    for (const [token, id] of entries) if (isId(id) && token.length <= MAX_TOKEN_NBYTES) this.#bytes[id] = decode(token);
    for (const { id, content, special } of added) {
      if (!isId(id) || content.length > MAX_TOKEN_NBYTES) continue;
      this.#bytes[id] = new TextEncoder().encode(content);
      if (special) this.#special.add(id);
    }
  }

  /** @param {number} id @returns {Uint8Array} empty for ids without a token */
  bytesOf(id) {
    return this.#bytes[id] ?? new Uint8Array(0);
  }

  /** @returns {TokenTrie} */
  get trie() {
    return (this.#trie ??= new TokenTrie(this.#bytes.map((bytes, id) => (this.#special.has(id) ? undefined : bytes))));
  }
}

/**
 * @param {any} decoder of tokenizer.json
 * @returns {(token: string) => Uint8Array}
 */
function tokenDecoder(decoder) {
  const steps = decoder?.type === 'Sequence' ? decoder.decoders : decoder ? [decoder] : [];
  const utf8 = new TextEncoder();
  if (steps.some((/** @type {{type: string}} */ { type }) => type === 'ByteLevel')) {
    const bytes = byteOfCharacter();
    return (token) => {
      const out = Array.from(token, (character) => bytes.get(character) ?? -1);
      return out.includes(-1) ? utf8.encode(token) : Uint8Array.from(out);
    };
  }
  /** @type {[string, string][]} */
  const replacements = [];
  for (const { type, pattern, content, replacement } of steps) {
    if ((content ?? replacement ?? '').length > MAX_REPLACEMENT) throw new Error(`its decoder puts ${(content ?? replacement).length} characters in place of one`);
    if (type === 'Replace' && typeof pattern?.String === 'string') replacements.push([pattern.String, content]);
    else if (type === 'Metaspace') replacements.push([replacement ?? '▁', ' ']);
    else if (!NEUTRAL.has(type))
      throw new TansyError('TANSY_TOKENIZER', `This model's tokenizer decodes by "${type}", which response_format and logprobs do not know. Generate without them.`);
  }
  return (token) => {
    const byte = /^<0x([0-9A-F]{2})>$/i.exec(token);
    if (byte !== null) return Uint8Array.of(parseInt(byte[1], 16));
    return utf8.encode(replacements.reduce((text, [from, to]) => text.replaceAll(from, to), token));
  };
}

/** So many masks are kept: of the states a generation comes back to, such as the inside of a string. */
const MAX_MASKS = 32;

/** Tokens by their bytes, as arrays in depth-first order: a branch that is not allowed is one jump. */
export class TokenTrie {
  /** @type {number[]} ids sorted by their bytes */
  #ids;
  #byte;
  #depth;
  /** where the node's branch ends */
  #end;
  /** tokens that end at the node: #ids[#first[node]] … #ids[#first[node] + #count[node] - 1] */
  #first;
  #count;
  #maxDepth = 0;
  /** @type {WeakMap<import('./automaton.js').Matcher, Map<import('./automaton.js').MatchState, import('./automaton.js').Mask>>} */
  #masks = new WeakMap();

  /** @param {readonly (Uint8Array | undefined)[]} bytes by id; undefined or empty: not in the trie */
  constructor(bytes) {
    const keys = bytes.map((b) => (b === undefined || b.length > 4 * MAX_TOKEN_NBYTES ? '' : String.fromCharCode(...b)));
    this.#ids = [...keys.keys()].filter((id) => keys[id] !== '').sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b));
    const total = 1 + this.#ids.reduce((sum, id) => sum + keys[id].length, 0);
    if (total > MAX_TRIE_NBYTES) throw new TansyError('TANSY_TOKENIZER', `The model's tokens have ${total} bytes, too many for response_format. Generate without it.`);
    const byte = new Uint8Array(total);
    const depth = new Uint16Array(total);
    const end = new Uint32Array(total);
    const first = new Uint32Array(total);
    const count = new Uint32Array(total);
    /** @type {number[]} nodes from the root to the one before */
    const way = [];
    let n = 0;
    let before = '';
    for (const [i, id] of this.#ids.entries()) {
      const key = keys[id];
      let same = 0;
      while (same < way.length && same < key.length && before.charCodeAt(same) === key.charCodeAt(same)) same++;
      while (way.length > same) end[/** @type {number} */ (way.pop())] = n;
      for (let d = same; d < key.length; d++) {
        byte[n] = key.charCodeAt(d);
        depth[n] = d;
        way.push(n++);
      }
      const node = way[way.length - 1];
      if (count[node]++ === 0) first[node] = i;
      this.#maxDepth = Math.max(this.#maxDepth, key.length);
      before = key;
    }
    for (const node of way) end[node] = n;
    this.#byte = byte.slice(0, n);
    this.#depth = depth.slice(0, n);
    this.#end = end.slice(0, n);
    this.#first = first.slice(0, n);
    this.#count = count.slice(0, n);
  }

  /**
   * The tokens after which the value can still be finished with `nLeft` more; if there are none, those that come nearest.
   * @param {import('./automaton.js').Matcher} matcher
   * @param {import('./automaton.js').MatchState} state
   * @param {number} nLeft
   * @returns {Int32Array}
   */
  allowed(matcher, state, nLeft) {
    let masks = this.#masks.get(matcher);
    if (masks === undefined) this.#masks.set(matcher, (masks = new Map()));
    let mask = masks.get(state);
    if (mask === undefined) {
      matcher.trim();
      mask = this.#walk(matcher, state, Infinity);
      if (masks.size >= MAX_MASKS) masks.delete(/** @type {import('./automaton.js').MatchState} */ (masks.keys().next().value));
    } else masks.delete(state); // to be the latest
    masks.set(state, mask);
    if (mask.nClosing <= nLeft || mask.ids.length === 0) return mask.ids;
    const short = this.#walk(matcher, state, nLeft);
    return short.ids.length > 0 ? short.ids : this.#walk(matcher, state, short.least).ids;
  }

  /**
   * @param {import('./automaton.js').Matcher} matcher
   * @param {import('./automaton.js').MatchState} state
   * @param {number} most tokens that may be left to close
   * @returns {import('./automaton.js').Mask & {least: number}} least: that any token leaves
   */
  #walk(matcher, state, most) {
    const ids = [];
    const way = new Array(this.#maxDepth + 1);
    way[0] = state;
    let nClosing = 0;
    let least = Infinity;
    const n = this.#byte.length;
    for (let node = 0; node < n; ) {
      const depth = this.#depth[node];
      const next = matcher.step(way[depth], this.#byte[node]);
      if (next === null) {
        node = this.#end[node];
        continue;
      }
      way[depth + 1] = next;
      const count = this.#count[node];
      if (count > 0) {
        const closing = this.closing(matcher, next);
        if (closing < least) least = closing;
        if (closing <= most) {
          if (closing > nClosing) nClosing = closing;
          for (let i = 0; i < count; i++) ids.push(this.#ids[this.#first[node] + i]);
        }
      }
      node++;
    }
    return { ids: Int32Array.from(ids), nClosing, least };
  }

  /**
   * Tokens that certainly finish the value: its shortest end, longest tokens first.
   * @param {import('./automaton.js').Matcher} matcher
   * @param {import('./automaton.js').MatchState} state
   * @returns {number}
   */
  closing(matcher, state) {
    if (state.nClosing < 0) {
      const bytes = matcher.ending(state);
      let n = 0;
      for (let at = 0; at < bytes.length; n++) at += this.#longest(bytes, at);
      state.nClosing = n;
    }
    return state.nClosing;
  }

  /**
   * Length of the longest token at a place; 1 if there is none.
   * @param {readonly number[]} bytes
   * @param {number} at
   */
  #longest(bytes, at) {
    let longest = 1;
    let node = 0;
    let end = this.#byte.length;
    for (let d = 0; at + d < bytes.length; d++) {
      while (node < end && this.#byte[node] !== bytes[at + d]) node = this.#end[node];
      if (node >= end) break;
      if (this.#count[node] > 0) longest = d + 1;
      end = this.#end[node];
      node++;
    }
    return longest;
  }
}
