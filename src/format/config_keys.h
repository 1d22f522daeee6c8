/* config_keys.h: keys of the config pairs in the index. The number is in the file; never renumber. (f) = f32 bit pattern. */
#ifndef TANSY_FORMAT_CONFIG_KEYS_H
#define TANSY_FORMAT_CONFIG_KEYS_H

enum tansy_config_key {
  TANSY_KEY_FAMILY = 1,         /* enum tansy_family (informative name; the arithmetic follows from the other keys) */
  TANSY_KEY_VOCAB = 2,          /* rows of EMBED */
  TANSY_KEY_HIDDEN = 3,
  TANSY_KEY_INTERMEDIATE = 4,
  TANSY_KEY_LAYERS = 5,
  TANSY_KEY_HEADS = 6,
  TANSY_KEY_KV_HEADS = 7,
  TANSY_KEY_HEAD_DIM = 8,
  TANSY_KEY_CONTEXT = 9,        /* max_position_embeddings */
  TANSY_KEY_NORM_EPS = 10,      /* (f) */
  TANSY_KEY_NORM_KIND = 11,     /* 0 RMSNorm, 1 LayerNorm. Gemma's 1 + w is folded into the stored weight */
  TANSY_KEY_ACTIVATION = 12,    /* 0 SiLU, 1 GELU tanh, 2 GELU erf, 3 ReLU */
  TANSY_KEY_MLP_KIND = 13,      /* 0 gated (act(gate) * up), 1 plain (act(up)) */
  TANSY_KEY_TIED = 14,          /* 1: the head is EMBED */
  TANSY_KEY_ROPE_DIM = 15,      /* rotated dims of a head; 0: no rope. Rotation pairs (i, i + rope_dim/2) */
  TANSY_KEY_ROPE_ATTN_FACTOR = 16, /* (f) multiplies cos and sin (longrope); 1 */
  TANSY_KEY_ATTN_SCALE = 17,    /* (f) multiplies q.k */
  TANSY_KEY_WINDOW = 18,        /* sliding window in tokens, the current one included; 0: none */
  TANSY_KEY_WINDOW_PERIOD = 19, /* layer i is global when (i + 1) % period == 0; 0: every layer uses WINDOW */
  TANSY_KEY_NOPE_PERIOD = 20,   /* layer i has no rope when (i + 1) % period == 0; 0: all have */
  TANSY_KEY_EMBED_SCALE = 21,   /* (f) multiplies the embedding row (Gemma: sqrt(hidden)); 1 */
  TANSY_KEY_ATTN_SOFTCAP = 22,  /* (f) s = cap * tanh(s / cap); 0: none */
  TANSY_KEY_LOGIT_SOFTCAP = 23, /* (f) */
  TANSY_KEY_POSITION_OFFSET = 24, /* learned position row = position + offset (OPT: 2) */
  TANSY_KEY_BOS = 25,           /* token id + 1; 0: none */
  TANSY_KEY_EOS = 26,           /* token id + 1; 0: none; further end tokens in keys 27..30 */
  TANSY_KEY_EOS_2 = 27,
  TANSY_KEY_EOS_3 = 28,
  TANSY_KEY_EOS_4 = 29,
  TANSY_KEY_EOS_5 = 30,
  TANSY_KEY_ADD_BOS = 31,       /* 1: generation starts with BOS */
  TANSY_KEY_QK_NORM = 32,       /* 1: Q_NORM and K_NORM present */
};

#endif
