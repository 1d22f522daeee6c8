set(TANSY_CODEC_SOURCES src/codec/parse.c src/codec/decode.c src/kernels/ans_escapes.c src/kernels/ans_ref.c)
set(TANSY_CODEC_SIMD128_SOURCES src/kernels/ans_simd128.c)
set(TANSY_CODEC_RELAXED_SOURCES src/kernels/ans_relaxed.c)
# the compressor only
set(TANSY_CODEC_ENCODER_SOURCES src/codec/encode.c src/codec/plan.c src/codec/classes.c src/codec/fit.c)
