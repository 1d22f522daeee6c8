// What callers may get wrong, as a table: each gives a TansyError with its stable code and a sentence that says what to do.
// Requests in OpenAI's shape: api.test.js. Schemas: schema.test.js. GGUF files: gguf.test.js. The command line: cli.test.js.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { TansyError, canRun, load, supports } from '../../js/index.js';
import { root } from './lib/builds.js';

const path = join(root, 'demo', EMBEDDED_MODEL);
const folder = mkdtempSync(join(tmpdir(), 'tansy-bad-'));
/** @type {import('../../js/index.js').Model} */
let model;
/** @type {import('../../js/index.js').Model} */
let gone;
before(async () => {
  writeFileSync(join(folder, 'text.txt'), 'Not a model, but long enough to be read as one. '.repeat(9));
  model = await load(path);
  gone = await load(path);
  gone.dispose();
});
after(() => {
  model?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const any = (/** @type {unknown} */ value) => /** @type {any} */ (value);
const opened = (/** @type {any} */ options) => () => load(path, options);
const written = (/** @type {any} */ options) => () => model.generate('a', { maxTokens: 1, ...options }).text();
const prompted = (/** @type {any} */ prompt) => () => model.generate(prompt, { maxTokens: 1 }).text();
const templated = (/** @type {any} */ chat_template) => () => model.applyChatTemplate(MESSAGES, { chat_template });
const shaped = (/** @type {any} */ schema) => written({ responseFormat: { type: 'json_schema', json_schema: { name: 'a', schema } } });
const GIVEN = new ArrayBuffer(99);
const MESSAGES = [{ role: 'user', content: 'a' }];

/** A schema that holds itself, and one deeper than any stack. */
const circular = any({ type: 'object', properties: {} });
circular.properties.a = circular;
let deep = any({ type: 'null' });
for (let i = 0; i < 20000; i++) deep = { type: 'array', items: deep };

for (const [what, call, code, words] of /** @type {[string, () => unknown, string, RegExp][]} */ ([
  // sources
  ['a number', () => load(any(5)), 'TANSY_SOURCE', /URL, a path .* got number/],
  ['null', () => load(any(null)), 'TANSY_SOURCE', /got null/],
  ['nothing', () => load(any(undefined)), 'TANSY_SOURCE', /got undefined/],
  ['an object', () => load(any({})), 'TANSY_SOURCE', /got object/],
  ['an empty address', () => load(''), 'TANSY_SOURCE', /is empty\. Give a URL/],
  ['an address that is none', () => load('http://'), 'TANSY_SOURCE', /"http:\/\/" is no address/],
  ['an address of another kind', () => load('ftp://host/x.tansy'), 'TANSY_SOURCE', /use http:, https: or file:/],
  ['a URL of another kind', () => load(new URL('ftp://host/x.tansy')), 'TANSY_SOURCE', /use http:, https: or file:/],
  ['a missing file', () => load(join(folder, 'none.tansy')), 'TANSY_NOT_FOUND', /There is no file .*none\.tansy; check the path/],
  ['a folder', () => load(folder), 'TANSY_NOT_FOUND', /not a file; give the \.tansy file/],
  ['a path with a zero', () => load('a\0b'), 'TANSY_IO', /check its name/],
  ['another file', () => load(join(folder, 'text.txt')), 'TANSY_NOT_TANSY', /not a \.tansy file; make one with `tansy compress`/],
  ['no bytes', () => load(new Uint8Array(0)), 'TANSY_TRUNCATED', /empty; download or copy it again/],
  ['few bytes', () => load(new ArrayBuffer(3)), 'TANSY_NOT_TANSY', /only 3 bytes/],
  ['a buffer that was given away', () => load(structuredClone(GIVEN, { transfer: [GIVEN] }) && GIVEN), 'TANSY_TRUNCATED', /empty/],
  ['zeros', () => load(new Blob([new Uint8Array(999)])), 'TANSY_NOT_TANSY', /not a \.tansy file/],
  ['canRun of a missing file', () => canRun(join(folder, 'none.tansy')), 'TANSY_NOT_FOUND', /check the path/],

  // options of load
  ['options that are none', opened(null), 'TANSY_OPTION', /must be an object, such as \{ memoryBudget/],
  ['options as a list', opened([]), 'TANSY_OPTION', /must be an object/],
  ['an unknown option', opened({ memoryBudgt: 1 }), 'TANSY_OPTION', /no option "memoryBudgt"; did you mean "memoryBudget"/],
  ['an option like no other', opened({ xyzzyplugh: 1 }), 'TANSY_OPTION', /no option "xyzzyplugh"; it knows memoryBudget, contextSize/],
  ['a budget below zero', opened({ memoryBudget: -1 }), 'TANSY_OPTION', /such as "64MB" or "1\.5GB", "min" or "auto"; got -1/],
  ['a budget in words', opened({ memoryBudget: 'lots' }), 'TANSY_OPTION', /got "lots"/],
  ['a budget that is an object', opened({ memoryBudget: { bytes: 5n } }), 'TANSY_OPTION', /got \[object Object\]/],
  ['a bigint', opened({ memoryBudget: 10n }), 'TANSY_OPTION', /got 10/],
  ['a budget that is too small', opened({ memoryBudget: '1KB' }), 'TANSY_OVER_BUDGET', /needs at least \d+ bytes .* 1024 bytes is \d+ short\. Raise memoryBudget or lower contextSize/],
  ['half a token', opened({ contextSize: 1.5 }), 'TANSY_OPTION', /integer from 0 to 16777216; got 1\.5/],
  ['a number in quotes', opened({ contextSize: '8' }), 'TANSY_OPTION', /got "8"/],
  ['threads below zero', opened({ threads: -1 }), 'TANSY_OPTION', /from 0 to 64/],
  ['a KV cache of another form', opened({ kv: 'f64' }), 'TANSY_OPTION', /kv must be one of int8, f16, f32; got "f64"/],
  ['weights of another form', opened({ residency: Symbol('ans') }), 'TANSY_OPTION', /one of auto, ans, packed, int8/],
  ['no batch', opened({ batchSize: 0 }), 'TANSY_OPTION', /batchSize must be an integer from 1 to 256/],
  ['a yes that is none', opened({ early: 'yes' }), 'TANSY_OPTION', /early must be true or false; got "yes"/],
  ['another variant', opened({ variant: 'avx' }), 'TANSY_OPTION', /must be "simd128" or "relaxed"; got "avx"/],
  ['a module that is not there', opened({ wasmUrl: '/none.wasm' }), 'TANSY_WASM', /build it, or say where it is with wasmUrl/],
  ['a module at an address that is none', opened({ wasmUrl: 'http://' }), 'TANSY_WASM', /http:\/\/ could not be loaded/],
  ['a module that is none', opened({ wasmUrl: new Uint8Array(8) }), 'TANSY_WASM', /could not be loaded/],
  ['a signal that is none', opened({ signal: {} }), 'TANSY_OPTION', /signal must be an AbortSignal/],
  ['progress to nobody', opened({ onProgress: 1 }), 'TANSY_OPTION', /onProgress must be a function/],
  ['retries as a number', opened({ retry: 5 }), 'TANSY_OPTION', /options of retry must be an object, such as \{ attempts/],
  ['no attempt', opened({ retry: { attempts: 0 } }), 'TANSY_OPTION', /attempts must be an integer from 1 to 1000/],
  ['a slip in retries', opened({ retry: { delay: 5 } }), 'TANSY_OPTION', /did you mean "delayMs"/],
  ['no speed', opened({ minTokensPerSecond: 0 }), 'TANSY_OPTION', /minTokensPerSecond must be a number from 0\.001/],
  ['canRun with an unknown option', () => canRun(path, any({ memoryBudgt: 1 })), 'TANSY_OPTION', /canRun has no option "memoryBudgt"/],

  // generate
  ['a number as prompt', prompted(5), 'TANSY_OPTION', /the prompt must be a text or a list of token ids; got number/],
  ['no prompt', prompted(undefined), 'TANSY_OPTION', /got undefined/],
  ['no tokens', prompted([]), 'TANSY_OPTION', /list of token ids is empty/],
  ['half a token id', prompted([1.5]), 'TANSY_OPTION', /token 0 is 1\.5; ids are integers from 0 to/],
  ['a token of another model', prompted([1, 1e9]), 'TANSY_OPTION', /token 1 is 1000000000/],
  ['more than the context', prompted(Array(100000).fill(1)), 'TANSY_CONTEXT', /100000 tokens; the context holds/],
  ['options that are none', () => model.generate('a', any(5)), 'TANSY_OPTION', /such as \{ temperature/],
  ['an unknown option', written({ maxTokenz: 1 }), 'TANSY_OPTION', /did you mean "maxTokens"/],
  ['tokens below zero', written({ maxTokens: -1 }), 'TANSY_OPTION', /maxTokens must be an integer from 0/],
  ['no number', written({ temperature: NaN }), 'TANSY_OPTION', /temperature must be a number from 0 to 100; got NaN/],
  ['more than all', written({ topP: 2 }), 'TANSY_OPTION', /topP must be a number from 0 to 1/],
  ['a seed beyond integers', written({ seed: 1e300 }), 'TANSY_OPTION', /seed must be an integer/],
  ['an empty stop', written({ stop: '' }), 'TANSY_OPTION', /stop must be a non-empty string or a list/],
  ['a bias of words', written({ logitBias: { word: 1 } }), 'TANSY_OPTION', /"word" is no token of this model/],
  ['a bias that is none', written({ logitBias: 5 }), 'TANSY_OPTION', /an object of token ids and numbers, such as \{ 42: -100 \}/],
  ['too many logprobs', written({ logprobs: 99 }), 'TANSY_OPTION', /logprobs must be an integer from 0 to 20/],
  ['a callback that is none', written({ onToken: 'log' }), 'TANSY_OPTION', /onToken must be a function/],

  // schemas
  ['a format of another kind', written({ responseFormat: 'json' }), 'TANSY_OPTION', /must be \{ type: 'json_schema'/],
  ['no schema', written({ responseFormat: { type: 'json_schema' } }), 'TANSY_SCHEMA', /schema is missing\. Give/],
  ['a schema that is none', shaped(5), 'TANSY_SCHEMA', /a schema is an object, true or false/],
  ['a type of another kind', shaped({ type: 'date' }), 'TANSY_SCHEMA', /no type "date"; there are object/],
  ['a keyword that is not supported', shaped({ type: 'string', pattern: 'a' }), 'TANSY_SCHEMA', /"pattern" is not supported/],
  ['a schema that holds itself', shaped(circular), 'TANSY_SCHEMA', /use \$ref/],
  ['a schema deeper than the stack', shaped(deep), 'TANSY_SCHEMA', /too deep/],

  // chat templates
  ['no template in the file', () => model.applyChatTemplate(MESSAGES), 'TANSY_CHAT_TEMPLATE', /Use generate\(\) with a prompt, or pass a chat_template/],
  ['a template that is none', templated(5), 'TANSY_CHAT_TEMPLATE', /pass a chat_template/],
  ['a malformed template', templated('{% if %}'), 'TANSY_CHAT_TEMPLATE', /template failed/],
  ['an unknown filter', templated('{{ messages | backwards }}'), 'TANSY_CHAT_TEMPLATE', /backwards/],
  ['a template that refuses', templated('{{ raise_exception("roles must alternate") }}'), 'TANSY_CHAT_TEMPLATE', /roles must alternate/],
  ['a template without an end', templated('{% for m in messages %}'), 'TANSY_CHAT_TEMPLATE', /template failed/],
  ['messages that are none', () => model.applyChatTemplate(any('hi'), { chat_template: 'x' }), 'TANSY_OPTION', /non-empty list of \{ role, content \}/],
  ['no variables', () => model.applyChatTemplate(MESSAGES, any(null)), 'TANSY_OPTION', /must be an object; got null/],

  // the rest
  ['a number to tokenize', () => model.tokenize(any(5)), 'TANSY_OPTION', /tokenize takes a string; got number/],
  ['null as options', () => model.tokenize('a', any(null)), 'TANSY_OPTION', /options of tokenize must be an object/],
  ['a text to detokenize', () => model.detokenize(any('a')), 'TANSY_OPTION', /list of token ids; got string/],
  ['logits of nothing', () => model.logits([]), 'TANSY_OPTION', /empty/],
  ['logits with a signal that is none', () => model.logits([1], any({ signal: 5 })), 'TANSY_OPTION', /AbortSignal/],
  ['no budget', () => model.setMemoryBudget(any(undefined)), 'TANSY_OPTION', /got undefined/],
  ['a budget that is too small', () => model.setMemoryBudget(5), 'TANSY_OVER_BUDGET', /needs at least/],
  ['null to watch a move', () => model.setMemoryBudget('min', any(null)), 'TANSY_OPTION', /options of setMemoryBudget must be an object/],
  ['a move with a signal that is none', () => model.setMemoryBudget('min', any({ signal: 5 })), 'TANSY_OPTION', /AbortSignal/],
  ['a move with progress that is none', () => model.setMemoryBudget('min', any({ onProgress: 5 })), 'TANSY_OPTION', /onProgress must be a function/],
  ['a session of text', () => model.restoreSession(any('x')), 'TANSY_OPTION', /bytes that saveSession gave/],
  ['a session of noise', () => model.restoreSession(new Uint8Array(99)), 'TANSY_SESSION', /not the bytes of a session/],

  // after dispose()
  ...['generate', 'stats', 'tokenize', 'detokenize', 'logits', 'reset', 'saveSession', 'applyChatTemplate'].map(
    (name) => /** @type {[string, () => unknown, string, RegExp]} */ ([`${name} after dispose`, () => any(gone)[name](name.includes('token') && name[0] === 't' ? 'a' : [1]), 'TANSY_DISPOSED', /load it again/]),
  ),
]))
  test(`refused: ${what}`, async () => {
    await assert.rejects(
      async () => call(),
      (error) => {
        assert.ok(error instanceof TansyError, String(/** @type {any} */ (error)?.stack ?? error));
        assert.deepEqual([error.code, words.test(error.message)], [code, true], error.message);
        assert.match(error.message, /[.?]$/, 'it ends like a sentence');
        return true;
      },
    );
  });

test('after all of that the model still works', async () => {
  assert.equal((await model.generate('Once', { maxTokens: 3, ignoreEos: true }).text()).length > 0, true);
});

test('a variant that does not exist', () => {
  assert.throws(() => supports(/** @type {any} */ ('avx')), { code: 'TANSY_OPTION', message: /simd128 and relaxed; got "avx"/ });
});
