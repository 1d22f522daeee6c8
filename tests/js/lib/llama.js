// llama.js: the Llama forward pass in 64-bit floats, straight from the paper, to hold the engine's integers against.

/**
 * @param {any} config as in config.json
 * @param {Map<string, {shape: number[], values: Float32Array | Float64Array}>} tensors
 * @param {number[]} ids
 * @param {ArrayLike<number>} [frequencies] rotary ones, where they do not follow from rope_theta alone
 * @returns {Float64Array[]} logits of every position
 */
export function llamaLogits(config, tensors, ids, frequencies) {
  const { hidden_size: dim, num_attention_heads: nHeads, num_key_value_heads: nKv, head_dim: hd, rms_norm_eps: eps } = config;
  const tensor = (/** @type {string} */ name) => {
    const found = tensors.get(name);
    if (found === undefined) throw new Error(name);
    return found;
  };
  const times = (/** @type {string} */ name, /** @type {Float64Array} */ x) => {
    const { shape, values } = tensor(name);
    return Float64Array.from({ length: shape[0] }, (_, i) => {
      let sum = 0;
      for (let j = 0; j < shape[1]; j++) sum += values[i * shape[1] + j] * x[j];
      return sum;
    });
  };
  const norm = (/** @type {string} */ name, /** @type {Float64Array} */ x) => {
    const { values } = tensor(name);
    const r = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + eps);
    return x.map((v, i) => v * r * values[i]);
  };
  const rope = (/** @type {Float64Array} */ x, /** @type {number} */ position) => {
    const out = x.slice();
    for (let head = 0; head < x.length; head += hd)
      for (let i = 0; i < hd / 2; i++) {
        const angle = position * (frequencies?.[i] ?? config.rope_theta ** ((-2 * i) / hd));
        const [a, b] = [x[head + i], x[head + i + hd / 2]];
        out[head + i] = a * Math.cos(angle) - b * Math.sin(angle);
        out[head + i + hd / 2] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    return out;
  };
  const add = (/** @type {Float64Array} */ a, /** @type {Float64Array} */ b) => a.map((v, i) => v + b[i]);

  const embed = tensor('model.embed_tokens.weight').values;
  /** @type {Float64Array[]} */
  let xs = ids.map((id) => Float64Array.from(embed.subarray(id * dim, (id + 1) * dim)));
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const p = `model.layers.${layer}.`;
    const inputs = xs.map((x) => norm(`${p}input_layernorm.weight`, x));
    const qs = inputs.map((x, t) => rope(times(`${p}self_attn.q_proj.weight`, x), t));
    const ks = inputs.map((x, t) => rope(times(`${p}self_attn.k_proj.weight`, x), t));
    const vs = inputs.map((x) => times(`${p}self_attn.v_proj.weight`, x));
    xs = xs.map((x, t) => {
      const mixed = new Float64Array(nHeads * hd);
      for (let head = 0; head < nHeads; head++) {
        const kvAt = Math.floor((head * nKv) / nHeads) * hd;
        const scores = ks.slice(0, t + 1).map((k) => {
          let sum = 0;
          for (let i = 0; i < hd; i++) sum += qs[t][head * hd + i] * k[kvAt + i];
          return sum / Math.sqrt(hd);
        });
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const total = weights.reduce((a, b) => a + b);
        weights.forEach((w, s) => {
          for (let i = 0; i < hd; i++) mixed[head * hd + i] += (w / total) * vs[s][kvAt + i];
        });
      }
      return add(x, times(`${p}self_attn.o_proj.weight`, mixed));
    });
    xs = xs.map((x) => {
      const input = norm(`${p}post_attention_layernorm.weight`, x);
      const up = times(`${p}mlp.up_proj.weight`, input);
      const gated = times(`${p}mlp.gate_proj.weight`, input).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      return add(x, times(`${p}mlp.down_proj.weight`, gated));
    });
  }
  const head = config.tie_word_embeddings ? 'model.embed_tokens.weight' : 'lm_head.weight';
  return xs.map((x) => times(head, norm('model.norm.weight', x)));
}
