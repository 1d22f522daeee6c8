/* roles.h: what a tensor is. The number is in the file; never renumber. Comment: name in a Hugging Face Llama checkpoint. */
#ifndef TANSY_FORMAT_ROLES_H
#define TANSY_FORMAT_ROLES_H

enum tansy_role {
  /* outside layers */
  TANSY_ROLE_EMBED = 0,           /* model.embed_tokens.weight [vocab, hidden]; also the head when tied */
  TANSY_ROLE_EMBED_SCALE = 1,     /* col_scale of EMBED (when tied: of the head's input too) */
  TANSY_ROLE_POSITION_EMBED = 2,  /* learned positions [n_positions, hidden] (GPT-2, OPT) */
  TANSY_ROLE_FINAL_NORM = 3,      /* model.norm.weight */
  TANSY_ROLE_FINAL_NORM_BIAS = 4,
  TANSY_ROLE_HEAD = 5,            /* lm_head.weight [vocab, hidden], absent when tied */
  TANSY_ROLE_HEAD_SCALE = 6,
  TANSY_ROLE_HEAD_BIAS = 7,
  TANSY_ROLE_POSITION_EMBED_SCALE = 8,
  TANSY_ROLE_ROPE_INV_FREQ = 9,   /* F32 [rope_dim/2]: rotary frequencies after all scaling, so readers need no rope recipe */
  TANSY_ROLE_ROPE_INV_FREQ_LOCAL = 10, /* of sliding-window layers, when they differ (Gemma 3) */
  /* inside a layer */
  TANSY_ROLE_ATTN_NORM = 16,      /* input_layernorm.weight */
  TANSY_ROLE_ATTN_NORM_BIAS = 17,
  TANSY_ROLE_ATTN_IN_SCALE = 18,  /* col_scale shared by Q, K, V */
  TANSY_ROLE_Q = 19,              /* self_attn.q_proj.weight [n_heads*head_dim, hidden] */
  TANSY_ROLE_K = 20,              /* self_attn.k_proj.weight [n_kv_heads*head_dim, hidden] */
  TANSY_ROLE_V = 21,              /* self_attn.v_proj.weight */
  TANSY_ROLE_Q_BIAS = 22,
  TANSY_ROLE_K_BIAS = 23,
  TANSY_ROLE_V_BIAS = 24,
  TANSY_ROLE_Q_NORM = 25,         /* self_attn.q_norm.weight [head_dim] (Qwen3, Gemma 3) */
  TANSY_ROLE_K_NORM = 26,
  TANSY_ROLE_ATTN_OUT_SCALE = 27, /* col_scale of O */
  TANSY_ROLE_O = 28,              /* self_attn.o_proj.weight [hidden, n_heads*head_dim] */
  TANSY_ROLE_O_BIAS = 29,
  TANSY_ROLE_POST_ATTN_NORM = 30, /* norm of the attention output before the residual add (Gemma 2/3) */
  TANSY_ROLE_MLP_NORM = 31,       /* post_attention_layernorm.weight (Llama), pre_feedforward_layernorm (Gemma) */
  TANSY_ROLE_MLP_NORM_BIAS = 32,
  TANSY_ROLE_MLP_IN_SCALE = 33,   /* col_scale shared by GATE and UP */
  TANSY_ROLE_GATE = 34,           /* mlp.gate_proj.weight [intermediate, hidden] */
  TANSY_ROLE_UP = 35,             /* mlp.up_proj.weight */
  TANSY_ROLE_UP_BIAS = 36,
  TANSY_ROLE_MLP_MID_SCALE = 37,  /* col_scale of DOWN */
  TANSY_ROLE_DOWN = 38,           /* mlp.down_proj.weight [hidden, intermediate] */
  TANSY_ROLE_DOWN_BIAS = 39,
  TANSY_ROLE_POST_MLP_NORM = 40,  /* norm of the MLP output before the residual add (Gemma 2/3) */
};

#endif
