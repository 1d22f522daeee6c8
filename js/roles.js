/** roles.js: names of tensors, by the numbers of src/format/roles.h (a test compares the two). */

/** @type {Readonly<Record<number, string>>} */
export const ROLES = Object.freeze({
  0: 'embed',
  1: 'embed_scale',
  2: 'position_embed',
  3: 'final_norm',
  4: 'final_norm_bias',
  5: 'head',
  6: 'head_scale',
  7: 'head_bias',
  8: 'position_embed_scale',
  9: 'rope_inv_freq',
  10: 'rope_inv_freq_local',
  16: 'attn_norm',
  17: 'attn_norm_bias',
  18: 'attn_in_scale',
  19: 'q',
  20: 'k',
  21: 'v',
  22: 'q_bias',
  23: 'k_bias',
  24: 'v_bias',
  25: 'q_norm',
  26: 'k_norm',
  27: 'attn_out_scale',
  28: 'o',
  29: 'o_bias',
  30: 'post_attn_norm',
  31: 'mlp_norm',
  32: 'mlp_norm_bias',
  33: 'mlp_in_scale',
  34: 'gate',
  35: 'up',
  36: 'up_bias',
  37: 'mlp_mid_scale',
  38: 'down',
  39: 'down_bias',
  40: 'post_mlp_norm',
});

/** Roles from this number on belong to a layer. */
const FIRST_LAYER_ROLE = 16;

/**
 * @param {number} role
 * @param {number} layer
 * @returns {string} such as `embed` or `layer.3.gate`
 */
export function tensorName(role, layer) {
  const name = ROLES[role] ?? `role_${role}`;
  return role >= FIRST_LAYER_ROLE ? `layer.${layer}.${name}` : name;
}
