// What a file from a stranger says beside its numbers: templates and expressions that never end, names with a meaning to JavaScript,
// attachments of any size. It may be refused; it may not hang, nor change anything outside itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { attachmentText, checkAttachments } from '../../js/attachments.js';
import { renderChat } from '../../js/chat.js';
import { compileFormat } from '../../js/schema/response_format.js';
import { Tokenizer } from '../../js/tokenizer.js';
import { byteLevelTokenizer } from './lib/tokenizers.js';

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
