// A .tansy file of a Llama as a checkpoint of floats again: what its integers mean, without the engine's 8-bit activations.
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROLES } from '../../../js/roles.js';
import { readTansy } from '../../reference/tansy_reader.js';
import { writeSafetensors } from './safetensors.mjs';

/** Where each matrix' column scale is, and its name in a checkpoint (# is the layer). @type {Record<string, [name: string, scale?: string]>} */
const TENSORS = {
  embed: ['model.embed_tokens.weight', 'embed_scale'],
  head: ['lm_head.weight', 'head_scale'],
  final_norm: ['model.norm.weight'],
  attn_norm: ['model.layers.#.input_layernorm.weight'],
  q: ['model.layers.#.self_attn.q_proj.weight', 'attn_in_scale'],
  k: ['model.layers.#.self_attn.k_proj.weight', 'attn_in_scale'],
  v: ['model.layers.#.self_attn.v_proj.weight', 'attn_in_scale'],
  o: ['model.layers.#.self_attn.o_proj.weight', 'attn_out_scale'],
  mlp_norm: ['model.layers.#.post_attention_layernorm.weight'],
  gate: ['model.layers.#.mlp.gate_proj.weight', 'mlp_in_scale'],
  up: ['model.layers.#.mlp.up_proj.weight', 'mlp_in_scale'],
  down: ['model.layers.#.mlp.down_proj.weight', 'mlp_mid_scale'],
};

/**
 * @param {string} file a Llama
 * @param {string} source the checkpoint it was made of
 * @param {string} folder to be written
 */
export function checkpointOfTansy(file, source, folder) {
  const { tensors } = readTansy(readFileSync(file));
  const out = [];
  for (const tensor of tensors) {
    const role = ROLES[tensor.role];
    if (!(role in TENSORS)) continue;
    const [name, scaleRole] = TENSORS[role];
    const scale = tensors.find((t) => ROLES[t.role] === scaleRole && t.layer === tensor.layer)?.values();
    const values = Float32Array.from(tensor.values(), (v, i) => (scale === undefined ? v : v * scale[i % tensor.nCols]));
    out.push({ name: name.replace('#', String(tensor.layer)), shape: tensor.kind === 'CODED' ? [tensor.nRows, tensor.nCols] : [tensor.nCols], values });
  }
  mkdirSync(folder, { recursive: true });
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(source, name), join(folder, name));
  writeSafetensors(join(folder, 'model.safetensors'), out);
}
