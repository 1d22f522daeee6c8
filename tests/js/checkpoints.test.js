// What folders of real models hold beside a plain Llama: another spelling gives the same file, and what would be another model is refused.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runPack } from '../../js/cli/pack.js';
import { tansy } from './lib/builds.js';
import { safetensors, writeCheckpoint } from './lib/checkpoint.js';
import { byteLevelTokenizer } from './lib/tokenizers.js';

const scratch = mkdtempSync(join(tmpdir(), 'tansy-checkpoints-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** @typedef {import('./lib/checkpoint.js').Tensors} Tensors */
/** @param {string} name @param {Parameters<typeof writeCheckpoint>[1]} [options] */
function checkpoint(name, options) {
  const folder = join(scratch, name);
  return { folder, ...writeCheckpoint(folder, { tokenizer: false, ...options }) };
}

/** Plain integers of a checkpoint. @param {string} folder */
async function packed(folder) {
  const out = join(folder, 'out.tansy');
  await runPack(['compress', folder, '-o', out, '--recipe', 'plain']);
  return readFileSync(out);
}

const vector = (/** @type {number} */ n) => ({ shape: [n], values: Float32Array.from({ length: n }, (_, i) => 0.01 * i) });
/** q, k and v of writeCheckpoint's 6 and 3 heads of 12 @param {Tensors} t @param {string[]} names */
function addBiases(t, names = ['q', 'k', 'v']) {
  for (const layer of [0, 1]) for (const name of names) t.set(`model.layers.${layer}.self_attn.${name}_proj.bias`, vector(name === 'q' ? 72 : 36));
}

for (const [what, options, code, words] of /** @type {[string, Parameters<typeof writeCheckpoint>[1], string, RegExp][]} */ ([
  ['a head that is not tied and not there', { tensors: (t) => void t.delete('lm_head.weight') }, 'TANSY_NOT_CHECKPOINT', /lm_head\.weight is missing/],
  ['biases that config.json speaks of and the weights lack', { config: { attention_bias: true } }, 'TANSY_NOT_CHECKPOINT', /q_proj\.bias is missing/],
  ['a Qwen2 without a bias', { config: { model_type: 'qwen2' }, tensors: (t) => addBiases(t, ['q', 'v']) }, 'TANSY_NOT_CHECKPOINT', /k_proj\.bias is missing/],
  ['a bias on the gate', { config: { mlp_bias: true }, tensors: (t) => void t.set('model.layers.0.mlp.gate_proj.bias', vector(100)) }, 'TANSY_UNSUPPORTED', /gate_proj\.bias/],
  ['a head for classes', { tensors: (t) => void t.set('score.weight', { shape: [2, 72], values: new Float32Array(144) }) }, 'TANSY_UNSUPPORTED', /score\.weight/],
  ['GPTQ', { config: { quantization_config: { quant_method: 'gptq', bits: 4 } } }, 'TANSY_UNSUPPORTED', /"gptq"/],
]))
  test(`refused: ${what}`, async () => {
    const { folder } = checkpoint(what.replaceAll(' ', '-'), options);
    await assert.rejects(packed(folder), (/** @type {any} */ error) => {
      assert.deepEqual([error.code, words.test(error.message)], [code, true], error.message);
      return true;
    });
  });

test('a head that is not there, and nothing said of it, is tied', async () => {
  const without = checkpoint('untold', { config: { tie_word_embeddings: undefined }, tensors: (t) => void t.delete('lm_head.weight') });
  const tied = checkpoint('tied', { config: { tie_word_embeddings: true } });
  assert.deepEqual(await packed(without.folder), await packed(tied.folder));
});

test('a Gemma 3 that sees: its language model, by both layouts of names, is the one without eyes', async () => {
  const config = {
    model_type: 'gemma3_text', num_key_value_heads: 3, query_pre_attn_scalar: 12, sliding_window: 16, layer_types: ['sliding_attention', 'full_attention'],
    rope_theta: 1e6, tie_word_embeddings: true, hidden_act: undefined, eos_token_id: [0, 7],
  };
  const addNorms = (/** @type {Tensors} */ t) => {
    for (const layer of [0, 1]) {
      for (const name of ['q_norm', 'k_norm']) t.set(`model.layers.${layer}.self_attn.${name}.weight`, vector(12));
      for (const name of ['pre', 'post']) t.set(`model.layers.${layer}.${name}_feedforward_layernorm.weight`, vector(72));
    }
  };
  const text = checkpoint('gemma3-text', { config: /** @type {any} */ (config), tensors: addNorms });
  const expected = await packed(text.folder);
  for (const prefix of ['language_model.model.', 'model.language_model.']) {
    const folder = join(scratch, `gemma3-${prefix}`);
    mkdirSync(folder);
    const { eos_token_id: eos, ...inner } = text.config;
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'gemma3', eos_token_id: eos, text_config: inner, vision_config: { hidden_size: 9 } }));
    const eyes = prefix.startsWith('model.') ? 'model.' : '';
    const renamed = new Map([...text.tensors].map(([name, tensor]) => [name.replace('model.', prefix), tensor]));
    renamed.set(`${eyes}vision_tower.vision_model.embeddings.position_embedding.weight`, { shape: [4, 9], values: new Float32Array(36) });
    renamed.set(`${eyes}multi_modal_projector.mm_soft_emb_norm.weight`, vector(9));
    writeFileSync(join(folder, 'model.safetensors'), safetensors(renamed));
    assert.deepEqual(await packed(folder), expected, prefix);
  }
});

test('a vocabulary that only SentencePiece can read is missed aloud', async () => {
  const { folder } = checkpoint('sentencepiece');
  for (const [name, words] of /** @type {[string, RegExp][]} */ ([['tokenizer.model', /warning: tokenizer\.model .*tokenizer\.json/], ['vocab.json', /warning: vocab\.json .*tokenizer\.json/]])) {
    writeFileSync(join(folder, name), 'what is in it does not matter');
    const { status, stderr } = await tansy(['compress', folder, '-o', join(folder, 'out.tansy'), '--recipe', 'plain']);
    assert.equal(status, 0, stderr);
    assert.match(stderr, words);
    rmSync(join(folder, name));
  }
});

test('a normalizer that is only nearly known is told of', async () => {
  const { folder } = checkpoint('precompiled');
  for (const [normalizer, words] of /** @type {[any, RegExp][]} */ ([
    [{ type: 'NFKC' }, /^(?!.*warning)/s],
    [{ type: 'Sequence', normalizers: [{ type: 'Precompiled', precompiled_charsmap: '' }] }, /warning: tokenizer\.json .*Precompiled/],
  ])) {
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...JSON.parse(byteLevelTokenizer().json), normalizer }));
    const { status, stderr } = await tansy(['compress', folder, '-o', join(folder, 'out.tansy'), '--recipe', 'plain']);
    assert.equal(status, 0, stderr);
    assert.match(stderr, words);
  }
});
