// Constrained decoding: what the matcher allows, what it refuses to compile, and that every text it lets through parses and
// validates, by a validator that knows nothing of it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Ajv } from 'ajv';
import { load } from '../../js/index.js';
import { compileSchema } from '../../js/schema/compile.js';
import { compileFormat } from '../../js/schema/response_format.js';
import { TokenTable } from '../../js/schema/tokens.js';
import { TextStream, Tokenizer } from '../../js/tokenizer.js';
import { tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';
import { randomSchema, randomNumbers } from './lib/schemas.js';
import { byteFallbackTokenizer, byteLevelTokenizer } from './lib/tokenizers.js';

const folder = mkdtempSync(join(tmpdir(), 'tansy-schema-'));
/** @type {import('../../js/index.js').Model} */
let model;
before(async () => {
  writeCheckpoint(join(folder, 'checkpoint'), { config: { max_position_embeddings: 2048, num_hidden_layers: 1 } });
  await tansyJson(['compress', join(folder, 'checkpoint'), '-o', join(folder, 'tiny.tansy'), '--bits', '8', '--no-prune']);
  model = await load(join(folder, 'tiny.tansy'));
});
after(() => {
  model?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const ajv = new Ajv({ strict: false, allErrors: true });
const format = (/** @type {any} */ schema) => /** @type {const} */ ({ type: 'json_schema', json_schema: { name: 'test', schema } });

/** Whether the matcher takes a text as a whole value. @param {any} schema @param {string} text */
function accepts(schema, text) {
  const matcher = compileSchema(schema);
  /** @type {import('../../js/schema/automaton.js').MatchState | null} */
  let state = matcher.start;
  for (const byte of new TextEncoder().encode(text)) {
    state = matcher.step(state, byte);
    if (state === null) return false;
  }
  return state.complete;
}

const person = { type: 'object', properties: { name: { type: 'string' }, age: { type: 'integer' }, note: { type: ['string', 'null'] } }, required: ['name', 'age'], additionalProperties: false };
const tree = { $defs: { node: { type: 'object', properties: { v: { type: 'integer' }, sub: { type: 'array', items: { $ref: '#/$defs/node' } } }, required: ['v'], additionalProperties: false } }, $ref: '#/$defs/node' };
for (const [name, schema, yes, no] of /** @type {[string, any, string[], string[]][]} */ ([
  ['integers', { type: 'integer' }, ['0', '-7', '120', ' 5'], ['', '-', '01', '1.0', '1e3', '+1', '"1"', '1234567890123456']],
  ['numbers', { type: 'number' }, ['0', '-0.5', '3.25e-7', '1E+10', '12'], ['.5', '1.', '1e', '00', '1e999', 'NaN']],
  ['booleans and null', { type: ['boolean', 'null'] }, ['true', 'false', 'null'], ['True', 'nul', '0']],
  ['strings', { type: 'string' }, ['""', '"a b"', '"é日😀"', '"\\n\\u00e9\\\\\\""'], ['"', '"\n"', '"\\x"', '"\\ud83d"', '"\\u00g0"', "'a'"]],
  ['lengths in characters', { type: 'string', minLength: 2, maxLength: 3 }, ['"ab"', '"日本😀"', '"\\u00e9\\n"'], ['"a"', '"abcd"', '"😀"']],
  ['enum and const', { enum: ['a', 1, null, [1, 2], { b: 'c' }] }, ['"a"', '1', 'null', '[1,2]', '{"b":"c"}'], ['"b"', '2', '11']],
  ['enum of a type', { type: 'string', enum: ['a', 1] }, ['"a"'], ['1']],
  ['const', { const: 'x"y' }, ['"x\\"y"'], ['"x"']],
  ['arrays', { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 3 }, ['[1]', '[1, 2]', '[\n  1,\n  2,\n  3\n]'], ['[]', '[1,]', '[1,2,3,4]', '[1 2]', '["a"]']],
  ['arrays without an upper end', { type: 'array', items: { type: 'null' } }, ['[]', '[ ]', '[null,null,null,null]'], ['[,null]', '[null,,null]']],
  ['objects', person, ['{"name":"A","age":1}', '{"name": "A", "age": 1, "note": null}', '{\n  "name": "A",\n  "age": 1\n}'], ['{}', '{"age":1,"name":"A"}', '{"name":"A"}', '{"name":"A","age":1,"x":1}', '{"name":"A","age":1,}']],
  ['only optional properties', { type: 'object', properties: { a: { type: 'null' }, b: { type: 'null' } }, additionalProperties: false }, ['{}', '{"b":null}', '{"a":null,"b":null}'], ['{"b":null,"a":null}', '{,"b":null}']],
  ['maps', { type: 'object', additionalProperties: { type: 'integer' } }, ['{}', '{"x":1,"y":2}'], ['{"x":"1"}', '{1:1}']],
  ['anyOf', { anyOf: [{ type: 'integer' }, { type: 'string', maxLength: 1 }, { type: 'array', items: { type: 'integer' } }] }, ['12', '"a"', '[1]'], ['"ab"', '{}']],
  ['anything', {}, ['{"a":[1,"b",{"c":null}]}', '[]', '-1e5', 'true'], ['{a:1}', '[1,]', 'tru']],
  ['recursion', tree, ['{"v":1}', '{"v":1,"sub":[{"v":2,"sub":[]},{"v":3}]}'], ['{"sub":[]}', '{"v":1,"sub":[{}]}']],
  ['references to definitions', { type: 'object', properties: { a: { $ref: '#/definitions/x' } }, required: ['a'], definitions: { x: { enum: [1] } } }, ['{"a":1}'], ['{"a":2}']],
  ['names that need escapes', { type: 'object', properties: { 'a"b': { const: 1 }, é: { const: 2 } }, required: ['a"b', 'é'] }, ['{"a\\"b":1,"é":2}'], ['{"a\\"b":1}']],
]))
  test(`the matcher: ${name}`, () => {
    for (const text of yes) {
      assert.ok(accepts(schema, text), `${text} is of the schema`);
      assert.ok(ajv.validate(schema, JSON.parse(text)), text);
    }
    for (const text of no) assert.ok(!accepts(schema, text), `${text} is not`);
  });

for (const [schema, words] of /** @type {[any, RegExp][]} */ ([
  [5, /at #: a schema is an object, true or false/],
  [{ type: 'strin' }, /at #\/type: there is no type "strin"; there are object/],
  [{ type: 'string', pattern: '^a' }, /the keyword "pattern" is not supported/],
  [{ type: 'object', properties: { a: { format: 'date' } } }, /at #\/properties\/a: the keyword "format"/],
  [{ type: 'object', propertys: {} }, /"propertys" is not supported \(did you mean "properties"\?\)/],
  [{ oneOf: [{ type: 'null' }] }, /"oneOf" is not supported \(did you mean "anyOf"\?\)/],
  [{ type: 'integer', minimum: 3 }, /"minimum" is not supported/],
  [{ anyOf: [] }, /non-empty list of schemas/],
  [{ anyOf: [{ type: 'null' }], minLength: 1 }, /"anyOf" beside "minLength"/],
  [{ allOf: [{ type: 'null' }, { type: 'null' }] }, /only one schema is supported/],
  [{ enum: [] }, /non-empty list of values/],
  [{ type: 'string', enum: [1] }, /no finite value satisfies/],
  [{ type: 'string', minLength: 3, maxLength: 2 }, /no value has both/],
  [{ type: 'array', minItems: -1 }, /integer from 0; got -1/],
  [{ type: 'array', maxItems: 1e9 }, /too large to compile/],
  [{ type: 'array', items: [{}] }, /a list of schemas is not supported/],
  [{ type: 'object', properties: [] }, /must be an object of schemas/],
  [{ type: 'object', required: 'a' }, /must be a list of names/],
  [{ $ref: 'other.json' }, /only references into the same schema/],
  [{ $ref: '#/$defs/none' }, /there is nothing at #\/\$defs\/none/],
  [{ $ref: '#' }, /no finite value|back to itself/],
  [{ anyOf: [{ $ref: '#' }, { type: 'null' }] }, /back to itself/],
  [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, /no finite value/],
  [{ type: 'object', required: ['a'], additionalProperties: false }, /no finite value/],
  [false, /no finite value/],
]))
  test(`refused: ${JSON.stringify(schema)}`, () => {
    assert.throws(() => compileSchema(schema), (/** @type {any} */ error) => error.code === 'TANSY_SCHEMA' && words.test(error.message) && /[.]$/.test(error.message) && (assert.ok(error.message), true));
  });

test('response_format itself', () => {
  assert.equal(compileFormat(undefined), undefined);
  assert.equal(compileFormat({ type: 'text' }), undefined);
  assert.throws(() => compileFormat({ type: 'jsn' }), { code: 'TANSY_OPTION' });
  assert.throws(() => compileFormat('json'), { code: 'TANSY_OPTION' });
  assert.throws(() => compileFormat({ type: 'json_schema' }), { code: 'TANSY_SCHEMA' });
});

for (const [name, make] of /** @type {const} */ ([['byte-level', byteLevelTokenizer], ['byte-fallback', byteFallbackTokenizer]]))
  test(`bytes of tokens: ${name}`, () => {
    const { json, vocab } = make();
    const table = new TokenTable(json, vocab);
    const all = new Set(Array.from({ length: vocab }, (_, id) => Buffer.from(table.bytesOf(id)).toString('hex')));
    for (let byte = 0; byte < 256; byte++) assert.ok(all.has(byte.toString(16).padStart(2, '0')), `byte ${byte}`);
    const wordStart = name === 'byte-level' ? ' w' : ' ';
    assert.ok(all.has(Buffer.from(wordStart).toString('hex')));
  });

for (const [name, make] of /** @type {const} */ ([['byte-level', byteLevelTokenizer], ['byte-fallback', byteFallbackTokenizer]]))
  test(`the mask leads any choice of tokens to an end, ${name}`, () => {
    const { json, config, vocab } = make();
    const table = new TokenTable(json, vocab + 7); // the last rows of the embedding have no token
    const tokenizer = new Tokenizer(json, config, vocab);
    for (let seed = 201; seed <= 240; seed++) {
      const next = randomNumbers(seed);
      const schema = randomSchema(seed);
      const matcher = compileSchema(schema);
      let state = matcher.start;
      let nLeft = table.trie.closing(matcher, state) + Math.floor(next() * 30);
      const stream = new TextStream(tokenizer, []);
      let text = '';
      while (!(state.complete && (!state.open || nLeft === 0))) {
        assert.ok(nLeft > 0, `seed ${seed}: ${text}`);
        const ids = table.trie.allowed(matcher, state, --nLeft);
        const id = ids[Math.floor(next() * ids.length)];
        for (const byte of table.bytesOf(id)) state = matcher.step(state, byte) ?? assert.fail(`seed ${seed}: token ${id} is not allowed after ${text}`);
        text += stream.push(id);
      }
      text += stream.flush();
      assert.ok(ajv.validate(schema, JSON.parse(text)), `seed ${seed}: ${text}`);
    }
  });

test('100 random schemas: every text parses and validates, and ends in time', async () => {
  let nTight = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const schema = randomSchema(seed);
    const validate = ajv.compile(schema);
    /* the smallest budget that can do, and some more on every other run */
    const matcher = compileSchema(schema);
    const least = Math.max(1, matcher.start.cost);
    const maxTokens = seed % 2 ? least : least + 40;
    const generation = model.generate('x', { responseFormat: format(schema), temperature: 1.5, topK: 0, topP: 1, minP: 0, seed, maxTokens });
    const text = await generation.text();
    const shown = `seed ${seed}: ${text}\n${JSON.stringify(schema)}`;
    assert.equal(generation.finishReason, 'stop', shown);
    assert.ok(generation.ids.length <= maxTokens, shown);
    assert.ok(validate(JSON.parse(text)), `${shown}\n${ajv.errorsText(validate.errors)}`);
    if (seed % 2) nTight++;
  }
  assert.equal(nTight, 50);
});

test('json_object: an object of any kind', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const generation = model.generate('x', { responseFormat: { type: 'json_object' }, temperature: 1, seed, maxTokens: 60 });
    const value = JSON.parse(await generation.text());
    assert.ok(value !== null && typeof value === 'object' && !Array.isArray(value));
  }
});

test('a budget that cannot do: finish reason length', async () => {
  const generation = model.generate('x', { responseFormat: format(person), seed: 1, maxTokens: 5 });
  const text = await generation.text();
  assert.equal(generation.finishReason, 'length');
  assert.throws(() => JSON.parse(text));
  assert.ok('{"name":"","age":'.startsWith(text.trim().replace(/ /g, '').slice(0, 3)));
});

test('logprobs and biases', async () => {
  const plain = model.generate('x', { temperature: 0, maxTokens: 4, logprobs: 3 });
  await plain.text();
  assert.equal(plain.logprobs.length, plain.ids.length);
  const rows = await model.logits([...plain.promptIds, ...plain.ids]);
  const { vocab } = model.config;
  for (const [i, told] of plain.logprobs.entries()) {
    const at = (plain.promptIds.length - 1 + i) * vocab;
    const row = rows.subarray(at, at + vocab);
    const most = Math.max(...row);
    const total = most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
    assert.equal(told.id, plain.ids[i]);
    assert.ok(Math.abs(told.logprob - (row[told.id] - total)) < 1e-6);
    assert.deepEqual(told.top.map(({ id }) => id), [...row.keys()].sort((a, b) => row[b] - row[a] || a - b).slice(0, 3));
    assert.equal(told.top[0].id, told.id);
  }
  const banned = model.generate('x', { temperature: 0, maxTokens: 4, logitBias: { [plain.ids[0]]: -100 } });
  await banned.text();
  assert.notEqual(banned.ids[0], plain.ids[0]);
  const forced = model.generate('x', { temperature: 0, maxTokens: 3, logit_bias: { 70: 100 } });
  await forced.text();
  assert.deepEqual(forced.ids, [70, 70, 70]);
  for (const bias of [[1], 'x', { a: 1 }, { 260: 1 }, { 1: 'x' }, { 1: 101 }, { '-1': 1 }])
    assert.throws(() => model.generate('x', { logitBias: /** @type {any} */ (bias) }), { code: 'TANSY_OPTION' });
  assert.throws(() => model.generate('x', { logprobs: 21 }), { code: 'TANSY_OPTION' });
});

test('random numbers are the same everywhere', () => assert.ok(Math.abs(randomNumbers(1)() - randomNumbers(1)()) === 0));
