// GGUF files as input: every tensor type against values computed here, every family against its Hugging Face checkpoint,
// token ids against known ones, and damaged files.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runPack } from '../../js/cli/pack.js';
import { TansyError } from '../../js/errors.js';
import { ggufCheckpoint } from '../../js/gguf/checkpoint.js';
import { Metadata } from '../../js/gguf/metadata.js';
import { readGguf } from '../../js/gguf/reader.js';
import { makeTokenizer } from '../../js/gguf/tokenizer.js';
import { load } from '../../js/index.js';
import { Tokenizer } from '../../js/tokenizer.js';
import { root, shared, sharedPath, tansy, tansyJson } from './lib/builds.js';
import { CONFIG, gaussian, safetensors } from './lib/checkpoint.js';
import { TYPE_IDS, dequantize, floatBytes, gguf, interleave, randomBlocks, string, typed, u64, writeGguf } from './lib/gguf.js';
import { convert, readCheckpoint } from './lib/gguf_convert.js';
import { byteFallbackTokenizer, byteLevelTokenizer } from './lib/tokenizers.js';

const scratch = mkdtempSync(join(tmpdir(), 'tansy-gguf-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Plain integers of a checkpoint folder, without attachments. @param {string} folder @param {string} name */
async function packed(folder, name) {
  const out = join(scratch, `${name}.tansy`);
  await runPack(['compress', folder, '-o', out, '--bits', '8', '--no-prune']);
  return readFileSync(out);
}

/** What the command line makes of a GGUF file. @param {string} path @param {string} name */
function checkpointOf(path, name) {
  const folder = join(scratch, name);
  mkdirSync(folder);
  for (const [file, text] of Object.entries(ggufCheckpoint(path))) writeFileSync(join(folder, file), text);
  return folder;
}

/* ---- a Llama of every tensor type ---- */

// rows of 256, so that every block type fits
const TINY = { ...CONFIG, hidden_size: 256, intermediate_size: 512, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 32, tie_word_embeddings: false };
const METADATA = {
  'general.architecture': 'llama',
  'llama.block_count': TINY.num_hidden_layers,
  'llama.context_length': TINY.max_position_embeddings,
  'llama.embedding_length': TINY.hidden_size,
  'llama.feed_forward_length': TINY.intermediate_size,
  'llama.attention.head_count': TINY.num_attention_heads,
  'llama.attention.head_count_kv': TINY.num_key_value_heads,
  'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
  'llama.rope.dimension_count': TINY.head_dim,
  'llama.rope.freq_base': { f32: 10000 },
};
const BYTE_TOKENS = (() => {
  const { json } = byteLevelTokenizer();
  const { model } = JSON.parse(json);
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a] - model.vocab[b]);
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': { i32: tokens.map((_, id) => (id === 0 ? 3 : 1)) },
    'tokenizer.ggml.merges': model.merges,
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 0,
    'tokenizer.chat_template': '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}',
  };
})();

/** Random tensors in GGUF's names with the Hugging Face tensors they stand for. @param {import('./lib/gguf.js').TypeName} type */
function tinyLlama(type) {
  const next = gaussian(TYPE_IDS[type] + 7);
  /** @type {import('./lib/gguf.js').Tensor[]} */
  const tensors = [];
  /** @type {import('./lib/checkpoint.js').Tensors} */
  const wanted = new Map();
  const matrix = (/** @type {string} */ name, /** @type {string} */ full, /** @type {number} */ rows, /** @type {number} */ cols, heads = false) => {
    const bytes = randomBlocks(type, rows * cols, next);
    tensors.push({ name, type, shape: [rows, cols], bytes });
    const values = dequantize(type, bytes);
    wanted.set(full, { shape: [rows, cols], values: heads ? interleave(values, TINY.head_dim, rows, true) : values });
  };
  const norm = (/** @type {string} */ name, /** @type {string} */ full) => {
    const values = Float32Array.from({ length: 256 }, () => 1 + 0.1 * next());
    tensors.push({ name, type: 'F32', shape: [256], bytes: floatBytes(values) });
    wanted.set(full, { shape: [256], values });
  };
  const { hidden_size: d, intermediate_size: ff, num_attention_heads: h, num_key_value_heads: kv, head_dim: hd, vocab_size: v } = TINY;
  matrix('token_embd.weight', 'model.embed_tokens.weight', v, d);
  for (let i = 0; i < TINY.num_hidden_layers; i++) {
    const [from, to] = [`blk.${i}.`, `model.layers.${i}.`];
    norm(`${from}attn_norm.weight`, `${to}input_layernorm.weight`);
    matrix(`${from}attn_q.weight`, `${to}self_attn.q_proj.weight`, h * hd, d, true);
    matrix(`${from}attn_k.weight`, `${to}self_attn.k_proj.weight`, kv * hd, d, true);
    matrix(`${from}attn_v.weight`, `${to}self_attn.v_proj.weight`, kv * hd, d);
    matrix(`${from}attn_output.weight`, `${to}self_attn.o_proj.weight`, d, h * hd);
    norm(`${from}ffn_norm.weight`, `${to}post_attention_layernorm.weight`);
    matrix(`${from}ffn_gate.weight`, `${to}mlp.gate_proj.weight`, ff, d);
    matrix(`${from}ffn_up.weight`, `${to}mlp.up_proj.weight`, ff, d);
    matrix(`${from}ffn_down.weight`, `${to}mlp.down_proj.weight`, d, ff);
  }
  norm('output_norm.weight', 'model.norm.weight');
  matrix('output.weight', 'lm_head.weight', v, d);
  return { tensors, wanted };
}

for (const type of /** @type {import('./lib/gguf.js').TypeName[]} */ (Object.keys(TYPE_IDS)))
  test(`a Llama in ${type} becomes the file that its values make`, async () => {
    const { tensors, wanted } = tinyLlama(type);
    const path = join(scratch, `llama-${type}.gguf`);
    writeGguf(path, { ...METADATA, 'tokenizer.ggml.bos_token_id': 0, 'tokenizer.ggml.eos_token_id': 0 }, tensors);
    const folder = join(scratch, `llama-${type}-hf`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(TINY));
    writeFileSync(join(folder, 'model.safetensors'), safetensors(wanted));
    assert.deepEqual(await packed(checkpointOf(path, `llama-${type}-gguf`), `${type}-gguf`), await packed(folder, `${type}-hf`));
  });

test('tansy compress model.gguf: a model with tokenizer and chat template', async () => {
  const { tensors } = tinyLlama('Q4_K');
  const path = join(scratch, 'whole.gguf');
  writeGguf(path, { ...METADATA, ...BYTE_TOKENS }, tensors, { alignment: 64 });
  const out = join(scratch, 'whole.tansy');
  const report = await tansyJson(['compress', path, '-o', out, '--bits', '8', '--no-prune']);
  assert.equal(report.family, 'llama');
  const model = await load(out);
  try {
    assert.deepEqual(model.tokenize('low exit'), new Tokenizer(byteLevelTokenizer().json, '{}', 260).encode('low exit', true));
    assert.equal(model.detokenize(model.tokenize('naïve 🦙')), 'naïve 🦙');
    let text = '';
    for await (const piece of model.generate('low', { maxTokens: 5, temperature: 0 })) text += piece;
    assert.ok(text.length > 0);
  } finally {
    model.dispose();
  }
  /* with calibration, for which the file's tokenizer is needed */
  const paper = await tansyJson(['compress', path, '-o', join(scratch, 'paper.tansy'), '--bits', '4', '--recipe', 'paper', '--calibration-tokens', '384']);
  assert.ok(paper.calibration_tokens >= 384 && paper.bits_per_weight < 4.5);
});

/* ---- families ---- */

test('golden checkpoints by way of GGUF have the logits of the checkpoints themselves', async (t) => {
  const golden = sharedPath(t, 'golden');
  if (golden === undefined) return;
  let n = 0;
  for (const name of readdirSync(golden).filter((entry) => !entry.includes('.'))) {
    if (name.startsWith('opt-')) continue; // no such architecture in GGUF
    const { config, tensors } = readCheckpoint(join(golden, name));
    const path = join(scratch, `${name}.gguf`);
    const { metadata, list } = convert(config, tensors);
    writeGguf(path, metadata, list);
    const [got, expected] = [await logits(await packed(checkpointOf(path, `${name}-gguf`), `${name}-gguf`)), await logits(await packed(join(golden, name), `${name}-hf`))];
    let worst = 0;
    for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i] - expected[i]));
    t.diagnostic(`${name}: logits differ by at most ${worst}`);
    /* divisors of rotary frequencies lie in the file as f32; all else is the same bits */
    assert.ok(worst <= (name === 'llama3rope-A' || name === 'phi3-C' ? 2e-5 : 0), `${name}: ${worst}`);
    n++;
  }
  assert.ok(n >= 12);
});

/** @param {Buffer} file */
async function logits(file) {
  const model = await load(new Uint8Array(file));
  try {
    return await model.logits(Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 96));
  } finally {
    model.dispose();
  }
}

/* ---- tokenizers ---- */

/** @param {string} path @param {number} vocab */
function tokenizerOf(path, vocab) {
  const metadata = new Metadata(readGguf(path).metadata, path);
  const files = makeTokenizer(metadata, metadata.string('general.architecture') ?? '');
  assert.ok(files !== undefined);
  return new Tokenizer(JSON.stringify(files.json), JSON.stringify(files.config), vocab);
}

for (const name of ['gpt-2', 'llama-spm'])
  test(`token ids of the ${name} vocabulary`, (t) => {
    const path = sharedPath(t, `tokenizers/ggml-vocab-${name}.gguf`);
    if (path === undefined) return;
    const tokenizer = tokenizerOf(path, 60000);
    const texts = readFileSync(`${path}.inp`, 'utf8').split('\n__ggml_vocab_test__\n');
    const expected = readFileSync(`${path}.out`, 'utf8').split('\n');
    assert.ok(texts.length > 40 && texts.length === expected.length);
    for (const [i, text] of texts.entries()) {
      const ids = tokenizer.encode(text, false);
      assert.equal(ids.join(' '), expected[i].trim(), JSON.stringify(text));
      assert.equal(tokenizer.decode(ids, false), text);
    }
  });

test("SmolLM2's tokenizer by way of GGUF gives its own ids", (t) => {
  const path = sharedPath(t, 'tokenizers/smollm2/tokenizer.json');
  const texts = sharedPath(t, 'tokenizers/ggml-vocab-gpt-2.gguf.inp');
  if (path === undefined || texts === undefined) return;
  const json = readFileSync(path, 'utf8');
  const { model, added_tokens: added } = JSON.parse(json);
  const tokens = Object.keys(model.vocab).sort((a, b) => model.vocab[a] - model.vocab[b]);
  for (const { id, content } of added) tokens[id] = content;
  const file = join(scratch, 'smollm2.gguf');
  writeGguf(file, {
    'general.architecture': 'llama', 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': 'smollm', 'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': { i32: tokens.map((_, id) => (added.some((/** @type {any} */ token) => token.id === id) ? 3 : 1)) },
    'tokenizer.ggml.merges': model.merges.map((/** @type {string | string[]} */ merge) => [merge].flat().join(' ')), 'tokenizer.ggml.bos_token_id': 1,
  }, []);
  const [ours, own] = [tokenizerOf(file, tokens.length), new Tokenizer(json, '{}', tokens.length)];
  const more = ['<|im_start|>user\nHi 1234<|im_end|>\n', "it's 3.14 x10\t\tend  ", 'x = [1, 22, 333]\n    return'];
  let n = 0;
  for (const text of [...readFileSync(texts, 'utf8').split('\n__ggml_vocab_test__\n'), ...more]) {
    assert.deepEqual(ours.encode(text, true), own.encode(text, true), JSON.stringify(text));
    n++;
  }
  assert.ok(n > 40);
});

test('a vocabulary with scores: best score first, bytes for what has no token, user-defined tokens whole', () => {
  const { json } = byteFallbackTokenizer();
  const base = Object.keys(JSON.parse(json).model.vocab);
  const extra = ['ab', 'bc', 'abc', '▁ab', '<turn>', '\ufeff', '  '];
  const tokens = [...base, ...extra];
  const scores = tokens.map((token) => ({ ab: -2, bc: -1, abc: -3, '▁ab': -4 })[token] ?? -100);
  const types = tokens.map((token, id) => (id === 0 ? 2 : id < 3 ? 3 : /^<0x/.test(token) ? 6 : token === '<turn>' || token === '  ' ? 4 : 1));
  const path = join(scratch, 'scores.gguf');
  writeGguf(path, {
    'general.architecture': 'llama', 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.scores': { f32: scores },
    'tokenizer.ggml.token_type': { i32: types }, 'tokenizer.ggml.bos_token_id': 1, 'tokenizer.ggml.eos_token_id': 2, 'tokenizer.ggml.unknown_token_id': 0,
  }, []);
  const tokenizer = tokenizerOf(path, tokens.length);
  const spell = (/** @type {string} */ text, special = false) => tokenizer.encode(text, special).map((id) => tokens[id]);
  assert.deepEqual(spell('abc'), ['▁', 'abc']); // b+c first, then a+bc; ▁+a is no token
  assert.deepEqual(spell('ab'), ['▁ab']);
  assert.deepEqual(spell('é', true), ['<s>', '▁', '<0xC3>', '<0xA9>']);
  assert.deepEqual(spell('\ufeff'), ['▁', '\ufeff']);
  assert.deepEqual(spell('ab<turn>ab'), ['▁ab', '<turn>', '▁ab']);
  assert.equal(tokenizer.decode(tokenizer.encode('ab abc é', true), true), 'ab abc é');
});

/** @type {[string, string, string[]][]} */
const CUTS = [
  ['gpt-2', "I've 1234 x", ['I', "'ve", ' 1234', ' x']],
  ['smollm', "I've 1234 x", ['I', "'ve", ' ', '1', '2', '3', '4', ' x']],
  ['llama-bpe', "I'VE 12345\n\n x", ['I', "'VE", ' ', '123', '45', '\n\n', ' x']],
  ['qwen2', "I'VE 123 (x)", ['I', "'VE", ' ', '1', '2', '3', ' (', 'x', ')']],
  ['tekken', 'fooBar 12', ['foo', 'Bar', ' ', '1', '2']],
  ['gpt-4o', "fooBar's 1234", ['foo', "Bar's", ' ', '123', '4']],
  ['default', 'a+b 1234', ['a', '+', 'b', ' ', '123', '4']],
];
for (const [pre, text, pieces] of CUTS)
  test(`pre-tokenizer ${pre} cuts ${JSON.stringify(text)}`, () => {
    /* a vocabulary of all bytes and whatever text merges to: with every pair merged, pieces become tokens */
    const { json } = byteLevelTokenizer();
    const characters = Object.keys(JSON.parse(json).model.vocab).filter((token) => [...token].length === 1);
    const mapped = (/** @type {string} */ s) => s.replaceAll(' ', 'Ġ').replaceAll('\n', 'Ċ');
    const whole = mapped(text);
    /** @type {string[]} */
    const merges = [];
    const tokens = new Set(characters);
    for (let length = 2; length <= whole.length; length++)
      for (let at = 0; at + length <= whole.length; at++) {
        const token = whole.slice(at, at + length);
        for (let cut = 1; cut < length; cut++) merges.push(`${token.slice(0, cut)} ${token.slice(cut)}`);
        tokens.add(token);
      }
    const list = [...tokens];
    const path = join(scratch, `pre-${pre}.gguf`);
    writeGguf(path, {
      'general.architecture': 'llama', 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': pre, 'tokenizer.ggml.tokens': list,
      'tokenizer.ggml.token_type': { i32: list.map(() => 1) }, 'tokenizer.ggml.merges': [...new Set(merges)],
    }, []);
    const tokenizer = tokenizerOf(path, list.length);
    assert.deepEqual(tokenizer.encode(text, false).map((id) => list[id]), pieces.map(mapped));
  });

test('YaRN with all that a file may say of it', () => {
  const path = join(scratch, 'yarn.gguf');
  const scaling = (/** @type {Record<string, unknown>} */ more) => {
    const metadata = { 'rope.scaling.type': 'yarn', 'rope.scaling.factor': { f32: 4 }, 'rope.scaling.original_context_length': 64, ...more };
    writeGguf(path, { ...METADATA, ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`llama.${key}`, value])) }, small());
    return JSON.parse(ggufCheckpoint(path)['config.json']).rope_scaling;
  };
  const usual = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64, beta_fast: 32, beta_slow: 1 };
  assert.deepEqual(scaling({}), usual);
  assert.deepEqual(scaling({ 'rope.scaling.yarn_ext_factor': { f32: -1 }, 'rope.scaling.yarn_attn_factor': { f32: 1 } }), usual);
  assert.deepEqual(scaling({ 'rope.scaling.yarn_beta_fast': { f32: 16 }, 'rope.scaling.yarn_beta_slow': { f32: 2 } }), { ...usual, beta_fast: 16, beta_slow: 2 });
  assert.deepEqual(scaling({ 'rope.scaling.yarn_attn_factor': { f32: 0.5 } }), { ...usual, attention_factor: 0.5 * (0.1 * Math.log(4) + 1) });
  for (const key of ['yarn_ext_factor', 'yarn_log_multiplier']) refuses(() => scaling({ [`rope.scaling.${key}`]: { f32: 0.5 } }), 'TANSY_UNSUPPORTED', new RegExp(key));
});

/* ---- the header ---- */

test('the reader agrees with @huggingface/gguf', async (t) => {
  const reference = await import('@huggingface/gguf');
  const { tensors } = tinyLlama('Q6_K');
  const path = join(scratch, 'agree.gguf');
  const more = { 'x.flags': { bool: [true, false] }, 'x.integers': { i32: [-1, 5] }, 'x.wide': { raw: Buffer.concat([Buffer.from([10, 0, 0, 0]), u64(2 ** 40)]) } };
  writeGguf(path, { ...METADATA, ...BYTE_TOKENS, ...more }, tensors);
  const files = [path];
  const vocabulary = `${shared}tokenizers/ggml-vocab-gpt-2.gguf`;
  if (existsSync(vocabulary)) files.push(vocabulary);
  else t.diagnostic('the GPT-2 vocabulary of ../shared is not on this machine: one file only');
  for (const file of files) {
    const ours = readGguf(file);
    const theirs = await reference.gguf(file, { allowLocalFile: true });
    const { version, tensor_count: nTensors, kv_count: nKeys, ...metadata } = theirs.metadata;
    assert.equal(ours.version, version);
    assert.equal(ours.tensors.length, Number(nTensors));
    assert.equal(ours.metadata.size, Number(nKeys));
    for (const [key, value] of Object.entries(metadata)) assert.deepEqual(ours.metadata.get(key), typeof value === 'bigint' ? Number(value) : value, key);
    for (const [i, tensor] of theirs.tensorInfos.entries()) {
      const mine = ours.tensors[i];
      assert.equal(mine.name, tensor.name);
      assert.deepEqual(mine.shape, tensor.shape.map(Number).reverse());
      assert.equal(mine.type.name, reference.GGMLQuantizationType[tensor.dtype]);
      assert.equal(mine.begin, Number(theirs.tensorDataOffset + tensor.offset));
    }
  }
});

/** @param {() => unknown} body @param {string} code @param {RegExp} words @param {string} [what] */
function refuses(body, code, words, what) {
  assert.throws(body, (error) => {
    assert.ok(error instanceof TansyError, `${what}: ${error}`);
    assert.equal(error.code, code, `${what}: ${error.message}`);
    assert.match(error.message, words, what);
    return true;
  });
}

const small = () => [{ name: 'token_embd.weight', type: /** @type {const} */ ('F32'), shape: [4, 8], bytes: Buffer.alloc(128) }];
const head = (/** @type {number} */ version, /** @type {number} */ nTensors, /** @type {number} */ nKeys, /** @type {Buffer[]} */ ...rest) =>
  Buffer.concat([Buffer.from('GGUF'), Buffer.from([version, 0, 0, 0]), u64(nTensors), u64(nKeys), ...rest]);
const array = (/** @type {number} */ type, /** @type {number | bigint} */ n) => Buffer.concat([Buffer.from([9, 0, 0, 0, type, 0, 0, 0]), u64(n)]);

/** @type {[string, () => Buffer, string, RegExp][]} */
const DAMAGED = [
  ['empty', () => Buffer.alloc(0), 'TANSY_NOT_CHECKPOINT', /no GGUF file and no folder/],
  ['other', () => Buffer.from('GGML and more of it'), 'TANSY_NOT_CHECKPOINT', /no GGUF file/],
  ['version 1', () => head(1, 0, 0), 'TANSY_UNSUPPORTED', /version 1/],
  ['many tensors', () => head(3, 2 ** 40, 0), 'TANSY_CORRUPT', /tensors/],
  ['many keys', () => head(3, 0, 2 ** 40), 'TANSY_CORRUPT', /keys/],
  ['long string', () => head(3, 0, 1, u64(2n ** 60n)), 'TANSY_CORRUPT', /bytes in a string/],
  ['string beyond the end', () => head(3, 0, 1, u64(1000), Buffer.from('abc')), 'TANSY_TRUNCATED', /ends inside its header/],
  ['long array', () => head(3, 0, 1, string('a'), array(4, 2n ** 61n)), 'TANSY_CORRUPT', /values in an array/],
  ['many long arrays', () => head(3, 0, 3, string('a'), array(0, 1 << 23), Buffer.alloc(1 << 23), string('b'), array(0, 1 << 23), Buffer.alloc(1 << 23), string('c'), array(0, 9), Buffer.alloc(9)), 'TANSY_CORRUPT', /9 values in an array/],
  ['array beyond the end', () => head(3, 0, 1, string('a'), array(8, 1 << 20)), 'TANSY_TRUNCATED', /ends inside its header/],
  ['arrays in arrays', () => head(3, 0, 1, string('a'), array(9, 1), ...Array.from({ length: 9 }, () => array(9, 1).subarray(4))), 'TANSY_CORRUPT', /arrays in arrays|values/],
  ['unknown metadata type', () => head(3, 0, 1, string('a'), Buffer.from([77, 0, 0, 0, 0])), 'TANSY_CORRUPT', /type 77/],
  ['a key twice', () => head(3, 0, 2, string('a'), typed(1), string('a'), typed(2)), 'TANSY_CORRUPT', /twice/],
  ['no architecture', () => gguf({}, small()), 'TANSY_NOT_CHECKPOINT', /general\.architecture/],
  ['unknown architecture', () => gguf({ ...METADATA, 'general.architecture': 'mamba' }, small()), 'TANSY_UNSUPPORTED', /"mamba" is not supported .*llama, .*gpt2/],
  ['__proto__', () => gguf({ ...METADATA, 'general.architecture': '__proto__' }, small()), 'TANSY_UNSUPPORTED', /"__proto__"/],
  ['experts', () => gguf({ ...METADATA, 'llama.expert_count': 8 }, small()), 'TANSY_UNSUPPORTED', /expert_count = 8/],
  ['a part', () => gguf({ ...METADATA, 'split.count': 2 }, small()), 'TANSY_UNSUPPORTED', /one part of several/],
  ['no weights', () => gguf(METADATA, []), 'TANSY_NOT_CHECKPOINT', /only a vocabulary/],
  ['no sizes', () => gguf({ 'general.architecture': 'llama' }, small()), 'TANSY_NOT_CHECKPOINT', /llama\.embedding_length/],
  ['a size that is none', () => gguf({ ...METADATA, 'llama.block_count': 'two' }, small()), 'TANSY_CORRUPT', /llama\.block_count/],
  ['alignment', () => gguf({ ...METADATA, 'general.alignment': 3 }, small()), 'TANSY_CORRUPT', /alignment of 3/],
  ['five dimensions', () => gguf(METADATA, [{ ...small()[0], shape: [1, 1, 1, 4, 8] }]), 'TANSY_CORRUPT', /5 dimensions/],
  ['no values', () => gguf(METADATA, [{ ...small()[0], shape: [0, 8] }]), 'TANSY_CORRUPT', /shape \[0, 8\]/],
  ['a product beyond 2^64', () => gguf(METADATA, [{ ...small()[0], shape: [2 ** 40, 2 ** 40] }]), 'TANSY_CORRUPT', /shape/],
  ['too large', () => gguf(METADATA, [{ ...small()[0], shape: [4, 80] }]), 'TANSY_TRUNCATED', /token_embd\.weight would end at byte/],
  ['offset beyond the end', () => gguf(METADATA, [{ ...small()[0], offset: 2 ** 50 }]), 'TANSY_TRUNCATED', /token_embd\.weight/],
  ['half a block', () => gguf(METADATA, [{ ...small()[0], type: 'Q4_K', shape: [1, 128] }]), 'TANSY_CORRUPT', /128 values .*Q4_K blocks/],
  ['IQ2_S', () => gguf(METADATA, [{ ...small()[0], type: 22 }]), 'TANSY_UNSUPPORTED', /token_embd\.weight has type IQ2_S.*Q4_0, .*Q6_K/],
  ['a type of the future', () => gguf(METADATA, [{ ...small()[0], type: 999 }]), 'TANSY_UNSUPPORTED', /type number 999/],
  ['a tensor twice', () => gguf(METADATA, [...small(), ...small()]), 'TANSY_CORRUPT', /twice/],
  ['an unknown tensor', () => gguf(METADATA, [...small(), { ...small()[0], name: 'blk.0.ssm_a' }]), 'TANSY_UNSUPPORTED', /blk\.0\.ssm_a/],
  ['tokenizer', () => gguf({ ...METADATA, ...BYTE_TOKENS, 'tokenizer.ggml.model': 'bert' }, small()), 'TANSY_UNSUPPORTED', /"bert"/],
  ['many long tokens', () => gguf({ ...METADATA, 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': Array.from({ length: 1100 }, (_, i) => `${i} `.padEnd(1024, 'a')), 'tokenizer.ggml.scores': { f32: new Array(1100).fill(0) } }, small()), 'TANSY_UNSUPPORTED', /too many long tokens/],
  ['pre-tokenizer', () => gguf({ ...METADATA, ...BYTE_TOKENS, 'tokenizer.ggml.pre': 'viking' }, small()), 'TANSY_UNSUPPORTED', /"viking"/],
  ['token types', () => gguf({ ...METADATA, ...BYTE_TOKENS, 'tokenizer.ggml.token_type': { i32: [1] } }, small()), 'TANSY_CORRUPT', /token_type/],
  ['rope scaling', () => gguf({ ...METADATA, 'llama.rope.scaling.type': 'longrope' }, small()), 'TANSY_UNSUPPORTED', /"longrope"/],
  ['layers that differ', () => gguf({ ...METADATA, 'llama.attention.head_count': { i32: [4, 8] } }, small()), 'TANSY_UNSUPPORTED', /differs between layers/],
];
for (const [what, make, code, words] of DAMAGED)
  test(`refused: ${what}`, () => {
    const path = join(scratch, 'damaged.gguf');
    writeFileSync(path, make());
    refuses(() => ggufCheckpoint(path), code, words, what);
  });

test('a file cut anywhere is refused as such, and random damage never surprises', () => {
  const whole = gguf({ ...METADATA, ...BYTE_TOKENS }, tinyLlama('Q8_0').tensors);
  const path = join(scratch, 'cut.gguf');
  const headerNbytes = whole.length - tinyLlama('Q8_0').tensors.reduce((n, t) => n + t.bytes.length, 0) - 2000;
  for (let i = 0; i < 60; i++) {
    const length = i < 50 ? 4 + Math.floor((i / 50) * headerNbytes) : whole.length - 1000 * (i - 49);
    writeFileSync(path, whole.subarray(0, length));
    refuses(() => ggufCheckpoint(path), 'TANSY_TRUNCATED', /download or copy/, `${length} bytes`);
  }
  const next = gaussian(3);
  const random = (/** @type {number} */ n) => Math.floor(Math.abs(next()) * 1e7) % n;
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(whole.subarray(0, 60000));
    for (let k = 0; k < 1 + (i % 4); k++) bytes[random(i % 2 ? 800 : 9000)] = random(256);
    writeFileSync(path, Buffer.concat([bytes, whole.subarray(60000)]));
    try {
      ggufCheckpoint(path);
    } catch (error) {
      assert.ok(error instanceof TansyError, String(/** @type {Error} */ (error).stack));
      refused++;
    }
  }
  assert.ok(refused > 20, `${refused} of 300`);
});

test('the command line says what is wrong with a GGUF file', async () => {
  const path = join(scratch, 'bad.gguf');
  writeGguf(path, METADATA, [{ ...small()[0], type: 22 }]);
  const out = join(scratch, 'bad.tansy');
  const { status, stderr } = await tansy(['compress', path, '-o', out]);
  assert.equal(status, 1);
  assert.match(stderr, /token_embd\.weight has type IQ2_S.*\[TANSY_UNSUPPORTED\]/);
  assert.doesNotMatch(stderr, /\n\s+at /);
  assert.ok(!existsSync(out));
  /* shapes that contradict the metadata, found by the compressor */
  const { tensors } = tinyLlama('F16');
  writeGguf(path, { ...METADATA, 'llama.feed_forward_length': 768 }, tensors);
  assert.match((await tansy(['compress', path, '-o', out, '--no-prune'])).stderr, /gate_proj.*\[TANSY_SHAPE\]/);
});

test('the compressor checks the table of tensors itself', async () => {
  const path = join(scratch, 'table.gguf');
  writeGguf(path, METADATA, tinyLlama('Q5_K').tensors);
  const good = JSON.parse(ggufCheckpoint(path)['model.gguf.json']);
  const q = 'model.layers.1.self_attn.q_proj.weight';
  const cases = /** @type {[(table: any) => void, string, RegExp][]} */ ([
    [(t) => void (t.file = join(scratch, 'nowhere.gguf')), 'TANSY_IO', /nowhere\.gguf/],
    [(t) => void delete t.tensors, 'TANSY_NOT_CHECKPOINT', /no table of tensors/],
    [(t) => void (t.tensors[q].data_offsets[1] += 176), 'TANSY_CORRUPT', /q_proj/],
    [(t) => void (t.tensors[q].data_offsets = [2 ** 40, 2 ** 40 + 256 * 176]), 'TANSY_TRUNCATED', /q_proj/],
    [(t) => void (t.tensors[q].shape = [512, 128]), 'TANSY_CORRUPT', /q_proj/],
    [(t) => void (t.tensors[q].shape = [2 ** 52, 2 ** 52]), 'TANSY_CORRUPT', /q_proj/],
    [(t) => void (t.tensors[q].interleaved = 3), 'TANSY_CORRUPT', /q_proj/],
    [(t) => void (t.tensors[q].interleaved = 48), 'TANSY_CORRUPT', /q_proj/],
    [(t) => void (t.tensors[q].dtype = 'IQ2_S'), 'TANSY_UNSUPPORTED', /q_proj.*IQ2_S.*Q6_K/],
    [(t) => void delete t.tensors[q], 'TANSY_NOT_CHECKPOINT', /q_proj.*missing/],
  ]);
  for (const [i, [edit, code, words]] of cases.entries()) {
    const folder = checkpointOf(path, `table-${i}`);
    const table = structuredClone(good);
    edit(table);
    writeFileSync(join(folder, 'model.gguf.json'), JSON.stringify(table));
    await assert.rejects(packed(folder, `table-${i}`), (error) => {
      assert.ok(error instanceof TansyError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, words);
      return true;
    });
  }
  /* a scale that is not finite */
  const bytes = readFileSync(path);
  const folder = checkpointOf(path, 'table-nan');
  bytes.writeUInt16LE(0x7e00, good.tensors[q].data_offsets[0] + 176);
  writeFileSync(path, bytes);
  await assert.rejects(packed(folder, 'table-nan'), { code: 'TANSY_NONFINITE', message: /q_proj/ });
});

test('no file of the browser reads GGUF', () => {
  for (const name of ['tansy.js', 'tansy.esm.js', 'tansy-worker.js'])
    assert.doesNotMatch(readFileSync(join(root, 'dist', name), 'utf8'), /tokenizer\.ggml|huggingface\/gguf/, name);
});
