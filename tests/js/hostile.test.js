// What a file from a stranger says beside its numbers: templates and expressions that never end, names with a meaning to JavaScript,
// attachments of any size. It may be refused; it may not hang, nor change anything outside itself.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { attachmentText, checkAttachments } from '../../js/attachments.js';
import { renderChat, templateOf } from '../../js/chat.js';
import { printable } from '../../js/cli/output.js';
import { load } from '../../js/index.js';
import { compileSchema } from '../../js/schema/compile.js';
import { compileFormat } from '../../js/schema/response_format.js';
import { TokenTable } from '../../js/schema/tokens.js';
import { TansyError } from '../../js/errors.js';
import { TextStream, Tokenizer } from '../../js/tokenizer.js';
import { root, tansy } from './lib/builds.js';
import { gguf } from './lib/gguf.js';
import { randomBelow } from '../fuzz/fuzz_gguf.mjs';
import { byteFallbackTokenizer, byteLevelTokenizer } from './lib/tokenizers.js';

const MESSAGES = [{ role: 'user', content: 'hello' }];
const LIMIT_MS = 150;

for (const [what, template] of [
  ['a loop in a loop in a loop', '{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}x{% endfor %}{% endfor %}{% endfor %}'],
  ['a macro that calls itself twice', '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}'],
])
  test(`${what} in a chat template ends`, () => {
    const started = performance.now();
    assert.throws(() => renderChat(template, MESSAGES, {}, LIMIT_MS), { code: 'TANSY_CHAT_TEMPLATE', message: /took more than 0.15 s/ });
    assert.ok(performance.now() - started < 20000);
  });

test('a text that doubles, a macro without an end: an error of the template', () => {
  for (const template of ['{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}', `{% set s = 'x' * 10 %}${'{% set s = s + s %}'.repeat(40)}{{ s }}`])
    assert.throws(() => renderChat(template, MESSAGES, {}, 5000), { code: 'TANSY_CHAT_TEMPLATE' });
});

test('templates reach no constructor and no global', () => {
  for (const template of ["{{ messages.constructor.constructor('return process')() }}", "{{ ''.__proto__.x }}", '{{ process.exit(3) }}', "{{ messages[0].__proto__ }}", '{{ globalThis }}']) {
    let text = '';
    try {
      text = renderChat(template, MESSAGES, {});
    } catch (error) {
      assert.equal(/** @type {any} */ (error).code, 'TANSY_CHAT_TEMPLATE');
    }
    assert.doesNotMatch(text, /process|function|native code|\[object/, template);
  }
});

test('an expression of a tokenizer that backtracks for ever ends', () => {
  const { json, config, vocab } = byteLevelTokenizer();
  const hostile = JSON.parse(json);
  hostile.pre_tokenizer = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated', invert: false };
  const tokenizer = new Tokenizer(JSON.stringify(hostile), config, vocab, LIMIT_MS);
  const started = performance.now();
  assert.throws(() => tokenizer.encode(`${'a'.repeat(60)}b`, false), { code: 'TANSY_TOKENIZER', message: /took more than/ });
  assert.ok(performance.now() - started < 20000);
  assert.equal(tokenizer.decode(tokenizer.encode('bcd', false), true), 'bcd', 'it goes on');

  const late = JSON.parse(json);
  late.decoder = { type: 'Sequence', decoders: [{ type: 'ByteLevel' }, { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' }] };
  const decoding = new Tokenizer(JSON.stringify(late), config, vocab, LIMIT_MS);
  const a = decoding.encode('a'.repeat(60) + 'b', false);
  try {
    decoding.decode(a, true);
  } catch (error) {
    assert.equal(/** @type {any} */ (error).code, 'TANSY_TOKENIZER');
  }
  assert.ok(performance.now() - started < 20000);
});

test('names that JavaScript knows are names like any others', () => {
  const before = Object.getOwnPropertyNames(Object.prototype).sort();
  const { json, config, vocab } = byteLevelTokenizer();
  const named = json.replaceAll('"lo"', '"__proto__"').replace('"Ġw"', '"constructor"').replace('"l o"', '"__pro to__"');
  try {
    new Tokenizer(named, config.replace('{', '{"__proto__":{"polluted":1},'), vocab).encode('hello world', false);
  } catch (error) {
    assert.equal(/** @type {any} */ (error).code, 'TANSY_TOKENIZER');
  }
  renderChat('{{ messages[0].content }}', [{ role: 'user', content: 'x', ...JSON.parse('{"__proto__":{"polluted":1}}') }], JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'));
  const schema = JSON.parse('{"type":"object","properties":{"__proto__":{"type":"integer"},"constructor":{"type":"string"},"toString":{"type":"null"}},"required":["__proto__"]}');
  compileFormat({ type: 'json_schema', json_schema: { name: '__proto__', schema } });
  assert.deepEqual(Object.getOwnPropertyNames(Object.prototype).sort(), before);
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
});

/** @param {number} nbytes @param {number} [rawNbytes] */
const place = (nbytes, rawNbytes = nbytes) => ({ name: 'tokenizer.json', offset: 0, nbytes, rawNbytes, encoding: /** @type {'raw' | 'gzip'} */ (rawNbytes === nbytes ? 'raw' : 'gzip') });

test('attachments are as large as they say, and not too large', async () => {
  checkAttachments([place(20 << 20), place(3 << 20, 60 << 20)], 'a file');
  assert.throws(() => checkAttachments([place(2 ** 32 - 1)], 'a file'), { code: 'TANSY_UNSUPPORTED', message: /attached files/ });
  assert.throws(() => checkAttachments([place(100, 2 ** 32 - 1)], 'a file'), { code: 'TANSY_UNSUPPORTED' });
  assert.throws(() => checkAttachments(Array(256).fill(place(1 << 20)), 'a file'), { code: 'TANSY_UNSUPPORTED' });
  const packed = gzipSync(Buffer.alloc(1000, 'a'));
  assert.equal((await attachmentText(packed, place(packed.length, 1000))).length, 1000);
  for (const rawNbytes of [999, 1001]) await assert.rejects(attachmentText(packed, place(packed.length, rawNbytes)), { code: 'TANSY_CORRUPT' });
  for (const damaged of [packed.subarray(0, 12), Buffer.from('no gzip at all'), Buffer.alloc(0)]) await assert.rejects(attachmentText(damaged, place(damaged.length, 1000)), { code: 'TANSY_CORRUPT' });
});

test('schemas that are deep, long, ambiguous or absurd are compiled or refused, soon', () => {
  const nested = (/** @type {number} */ n) => {
    /** @type {any} */
    let schema = { type: 'null' };
    for (let i = 0; i < n; i++) schema = { type: 'array', items: schema };
    return schema;
  };
  const names = Array.from({ length: 4000 }, (_, i) => `p${i}`);
  const properties = Object.fromEntries(names.map((name) => [name, true]));
  const chain = Object.fromEntries(names.slice(0, 1500).map((name, i) => [name, i === 0 ? { type: 'null' } : { type: 'array', minItems: 1, items: { $ref: `#/$defs/p${i - 1}` } }]));
  const refs = Object.fromEntries(Object.keys(chain).map((name) => [name, { $ref: `#/$defs/${name}` }]));
  for (const [what, schema, isGood] of /** @type {[string, unknown, boolean][]} */ ([
    ['nested 500 times', nested(500), true],
    ...[2000, 3000, 5000, 20000].map((n) => [`nested ${n} times`, nested(n), false]),
    ['required in another order', { type: 'object', properties, required: [...names].reverse() }, true],
    ['a chain of references', { $defs: chain, type: 'object', properties: refs, required: Object.keys(refs) }, true],
    ['names without end', { type: 'object', required: Array.from({ length: 200000 }, (_, i) => `p${i}`) }, false],
    ['values without end', { enum: Array.from({ length: 200000 }, (_, i) => `value ${i}`) }, false],
    ['a reference that is no address', { $ref: '#/%E0%A4%A' }, false],
    ['a reference to what every object has', { $ref: '#/__proto__' }, false],
  ])) {
    const started = performance.now();
    const compile = () => void compileFormat({ type: 'json_schema', json_schema: { name: 'x', schema: /** @type {any} */ (schema) } });
    if (isGood) compile();
    else assert.throws(compile, { code: 'TANSY_SCHEMA' }, what);
    assert.ok(performance.now() - started < 8000, what);
  }
  const s = { $ref: '#/$defs/s' };
  const twice = compileSchema({ $defs: { s: { anyOf: [{ type: 'array', items: s }, { type: 'array', items: s }, { type: 'null' }] } }, ...s });
  assert.throws(() => {
    let state = twice.start;
    for (let i = 0; i < 40; i++) state = /** @type {any} */ (twice.step(state, 0x5b));
  }, { code: 'TANSY_SCHEMA', message: /ambiguous/ });
});

test('tokens that are no tokens: the bytes of the others are known, or the file is refused', () => {
  const { json, vocab } = byteLevelTokenizer();
  const change = (/** @type {(json: any) => void} */ edit) => {
    const copy = JSON.parse(json);
    edit(copy);
    return () => new TokenTable(JSON.stringify(copy), vocab).trie;
  };
  for (const edit of /** @type {((json: any) => void)[]} */ ([
    (j) => Object.assign(j.model.vocab, { ['x'.repeat(200000)]: 7 }),
    (j) => (j.model.vocab = [[5, -1]]),
    (j) => delete j.model.vocab.e,
    (j) => Object.assign(j.model.vocab, { negative: -1, half: 0.5, text: 'a', huge: 2 ** 40 }),
    (j) => (j.added_tokens = [{ id: 3, content: 'y'.repeat(300000), special: false }, { id: -1, content: 'z' }]),
  ]))
    change(edit)();
  for (const edit of /** @type {((json: any) => void)[]} */ ([
    (j) => (j.model = null),
    (j) => (j.model.vocab = null),
    (j) => (j.added_tokens = [{ id: 3 }]),
    (j) => (j.added_tokens = 7),
    (j) => (j.decoder = { type: 'Sequence', decoders: [null] }),
    (j) => (j.decoder = { type: 'Replace', pattern: { String: 'a' }, content: 'b'.repeat(1 << 20) }),
  ]))
    assert.throws(change(edit), { code: 'TANSY_TOKENIZER' }, String(edit));
});

test('options whose names every object has are unknown options', async () => {
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'k'.repeat(1 << 20)]) {
    const started = performance.now();
    await assert.rejects(load(new Uint8Array(10), JSON.parse(`{"${name}":1}`)), { code: 'TANSY_OPTION' }, name.slice(0, 20));
    assert.ok(performance.now() - started < 1000);
  }
});

test('what a file says reaches a terminal without its escape sequences', async () => {
  assert.equal(printable('a\x1b]0;name\x07b\x9b2Jc\x7f\rd\r\ne\tf\u00e9 \u{1f600}'), 'a\ufffd]0;name\ufffdb\ufffd2Jc\ufffdd\ne\tf\u00e9 \u{1f600}');
  const folder = mkdtempSync(join(tmpdir(), 'tansy-hostile-'));
  try {
    writeFileSync(join(folder, 'x.gguf'), gguf({ 'general.architecture': 'll\x1b]52;c;cm0gLXJmIH4=\x07ama' }, []));
    const { status, stderr } = await tansy(['compress', join(folder, 'x.gguf'), '-o', join(folder, 'x.tansy')]);
    assert.equal(status, 1);
    assert.match(stderr, /architecture "ll.*ama" is not supported/);
    assert.doesNotMatch(stderr, /[\x1b\x07]/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

const VALUES = [null, 5, -1, 0.5, 1e9, true, '', 'x', '__proto__', '(', [], {}, [null], [['a', 'b', 'c']], { type: 'ByteLevel' }, { type: 'Replace', pattern: { Regex: '(?<' }, content: 1 }];

/** Changes one place of a JSON value, any place. @param {any} value @param {(n: number) => number} below */
function damage(value, below) {
  const places = [];
  /** @type {any[]} */
  const open = [value];
  for (let at; (at = open.pop()) !== undefined; )
    for (const key of Object.keys(at)) {
      /* of a long list a few are enough */
      if (places.length < 3000 || below(20) === 0) places.push([at, key]);
      if (at[key] !== null && typeof at[key] === 'object') open.push(at[key]);
    }
  const [parent, key] = /** @type {[any, string]} */ (places[below(places.length)]);
  if (below(4) === 0) delete parent[key];
  else parent[key] = VALUES[below(VALUES.length)];
}

test('a damaged tokenizer is refused or works, with a code, and soon', () => {
  const below = randomBelow(11);
  const seen = { refused: 0, works: 0 };
  for (let round = 0; round < 400; round++) {
    const { json, config, vocab } = (round % 2 ? byteFallbackTokenizer : byteLevelTokenizer)();
    const [tokenizerJson, configJson] = [JSON.parse(json), JSON.parse(config)];
    /* not only in the vocabulary, which is most of it */
    const { vocab: _vocab, merges: _merges, ...model } = tokenizerJson.model;
    const small = { ...tokenizerJson, model };
    const where = below(3) === 0 ? tokenizerJson : below(4) === 0 ? configJson : small;
    for (let n = 1 + below(3); n > 0 && Object.keys(where).length > 0; n--) damage(where, below);
    if (where === small) Object.assign(tokenizerJson, small, { model: small.model === model ? { ...tokenizerJson.model, ...model } : small.model });
    const started = performance.now();
    const text = JSON.stringify(tokenizerJson);
    try {
      const tokenizer = new Tokenizer(text, JSON.stringify(configJson), vocab, 2000);
      const ids = tokenizer.encode('lower hello \u00e9\ud83d <s> world', true);
      const stream = new TextStream(tokenizer, []);
      assert.equal(typeof (ids.map((id) => stream.push(id)).join('') + stream.flush()), 'string');
      for (let id = 0; id < 20; id++) assert.equal(typeof tokenizer.decode([id], true), 'string');
      templateOf(tokenizer.config.chat_template);
      new TokenTable(text, vocab).trie;
      seen.works++;
    } catch (error) {
      assert.ok(error instanceof TansyError, `round ${round}: ${/** @type {Error} */ (error).stack}`);
      seen.refused++;
    }
    assert.ok(performance.now() - started < 8000, `round ${round}`);
  }
  assert.ok(seen.refused > 40 && seen.works > 40, JSON.stringify(seen));
  for (const value of [null, 5, [null], [5], [{}], [{ template: 7 }], { template: 'x' }]) assert.equal(templateOf(value), undefined);
  assert.equal(templateOf([null, { name: 'default', template: 'x' }]), 'x');
});

test('where there is no memory to have, TANSY_NO_MEMORY says so, whatever asked for it', async () => {
  const file = readFileSync(join(root, 'demo/models/tales-6m.tansy'));
  const model = await load(file, { threads: 1 });
  const { Uint8Array: whole, WebAssembly: { Memory } } = globalThis;
  const { grow } = Memory.prototype;
  let most = 20000;
  globalThis.Uint8Array = /** @type {any} */ (
    class extends whole {
      /** @param {any[]} given */
      constructor(...given) {
        if (typeof given[0] === 'number' && given[0] > most) throw new RangeError('Array buffer allocation failed');
        super(.../** @type {[]} */ (given));
      }
    }
  );
  try {
    /* the front, the copies of attachments, what they unpack to; then a conversation's bytes and its logits */
    for (most of [20000, 66000]) await assert.rejects(load(file, { threads: 1 }), { code: 'TANSY_NO_MEMORY' }, String(most));
    most = 1000;
    await assert.rejects(model.logits([1, 2]), { code: 'TANSY_NO_MEMORY' });
    await model.generate([1, 2, 3], { maxTokens: 9, ignoreEos: true, stop: [] }).text();
    await assert.rejects(async () => model.saveSession(), { code: 'TANSY_NO_MEMORY' });
    most = 10;
    await assert.rejects(model.setMemoryBudget('5MB'), { code: 'TANSY_NO_MEMORY' });
  } finally {
    globalThis.Uint8Array = whole;
  }
  Memory.prototype.grow = () => {
    throw new RangeError('Maximum memory size exceeded');
  };
  try {
    const large = Buffer.from(file);
    await assert.rejects(load(Buffer.concat([withJson(2 << 20), large.subarray(8 + Number(large.readBigUInt64LE()))]), { threads: 1 }), { code: 'TANSY_NO_MEMORY' });
  } finally {
    Memory.prototype.grow = grow;
  }
  const run = model.generate('Once', { maxTokens: 3, temperature: 0 });
  assert.ok((await run.text()).length > 0, 'what was there goes on');
  model.dispose();
});

/** The front of a file with so many bytes of JSON. @param {number} nbytes */
function withJson(nbytes) {
  const json = Buffer.alloc(8 + nbytes, ' ');
  json.writeBigUInt64LE(BigInt(nbytes));
  json[8] = 0x7b;
  return json;
}
