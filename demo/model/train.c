/**
 * train.c: trains the small Llama-architecture model that the demo embeds, on CPUs.
 *
 *   cc -O3 -march=native -ffast-math -fopenmp -o train train.c -lm
 *   train TOKENS.bin VALID.bin OUT_DIR MINUTES [THREADS] [LAYERS] [HIDDEN] [FFN]
 *
 * Token files: uint16 little-endian ids, documents start with id 0 (tokenize.mjs makes them). OUT_DIR gets
 * model.safetensors (F32), config.json and train_log.json; put the tokenizer's files beside them.
 *
 * Each thread takes whole sequences through all layers and back, with gradients of its own. Matrix products are bf16
 * with f32 sums, in AMX tiles where the CPU has them. Matrices are updated by Muon (orthogonalized momentum), the
 * embedding and the norms by AdamW.
 */
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <immintrin.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef uint16_t bf16;
enum { T = 512, D = 32, BLOCK = 128, VOCAB = 4096, MAX_THREADS = 16, SEQS = 16 };
static int H = 256, F = 768, L = 6, NH, NKV, KV;

static void* take(size_t n) {
    void* p = aligned_alloc(64, (n + 4095) / 4096 * 4096);
    if (!p) { perror("memory"); exit(1); }
    memset(p, 0, (n + 4095) / 4096 * 4096);
    return p;
}
#define TAKE(type, n) ((type*)take(sizeof(type) * (size_t)(n)))

/* bf16 and packing ------------------------------------------------------------------------------------------------ */

static inline bf16 to_bf16(float f) {
    uint32_t u; memcpy(&u, &f, 4);
    return (bf16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static inline float from_bf16(bf16 b) {
    uint32_t u = (uint32_t)b << 16; float f; memcpy(&f, &u, 4);
    return f;
}
static void round_all(bf16* out, const float* in, size_t n) { for (size_t i = 0; i < n; i++) out[i] = to_bf16(in[i]); }

static void transpose_dwords(uint32_t out[16][16], __m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]), r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]), r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0x88);
            t[i + 4 + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        _mm512_storeu_si512(out[j], _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88));
        _mm512_storeu_si512(out[8 + j], _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd));
    }
}

/* Operand B of a product, k by n, in tiles [n / 16][k / 32] of 16 pairs of rows by 16 columns. */
static void pack_nk(bf16* out, const bf16* w, int ld, int n, int k) { /* from n rows of k */
    for (int i = 0; i < n; i += 16)
        for (int j = 0; j < k; j += 32, out += 512) {
            __m512i r[16];
            for (int a = 0; a < 16; a++) r[a] = _mm512_loadu_si512(w + (size_t)(i + a) * ld + j);
            transpose_dwords((uint32_t(*)[16])out, r);
        }
}
static inline __m512i pair_rows(const bf16* a, const bf16* b) {
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)a)), y = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)b));
    return _mm512_or_si512(x, _mm512_slli_epi32(y, 16));
}
static void pack_kn(bf16* out, const bf16* w, int ld, int k, int n) { /* from k rows of n */
    for (int i = 0; i < n; i += 16)
        for (int j = 0; j < k; j += 32, out += 512)
            for (int a = 0; a < 16; a++) {
                const bf16* row = w + (size_t)(j + 2 * a) * ld + i;
                _mm512_storeu_si512(out + 32 * a, pair_rows(row, row + ld));
            }
}
static void transpose(bf16* out, int ldo, const bf16* in, int ld, int rows, int cols) {
    for (int i = 0; i < cols; i += 16)
        for (int j = 0; j < rows; j += 32) {
            __m512i r[16]; uint32_t o[16][16];
            for (int a = 0; a < 16; a++) r[a] = pair_rows(in + (size_t)(j + 2 * a) * ld + i, in + (size_t)(j + 2 * a + 1) * ld + i);
            transpose_dwords(o, r);
            for (int a = 0; a < 16; a++) memcpy(out + (size_t)(i + a) * ldo + j, o[a], 64);
        }
}

/* c[m][n] (+)= a[m][k] * b; m, n and k are multiples of 32. `bk` is b's own k. */
__attribute__((noinline)) static void gemm(float* c, int ldc, const bf16* a, int lda, const bf16* b, int bk, int m, int n, int k, int add) {
#ifdef __AMX_BF16__
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tile loads and stores touch */
    for (int j = 0; j < n; j += 32)
        for (int i = 0; i < m; i += 32) {
            const bf16 *a0 = a + (size_t)i * lda, *a1 = a0 + 16 * (size_t)lda, *b0 = b + (size_t)j * bk, *b1 = b0 + 16 * (size_t)bk;
            float* out = c + (size_t)i * ldc + j;
            if (add) {
                _tile_loadd(0, out, 4 * ldc);
                _tile_loadd(1, out + 16, 4 * ldc);
                _tile_loadd(2, out + 16 * (size_t)ldc, 4 * ldc);
                _tile_loadd(3, out + 16 * (size_t)ldc + 16, 4 * ldc);
            } else {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            for (int p = 0; p < k; p += 32) {
                _tile_loadd(4, a0 + p, 2 * lda);
                _tile_loadd(6, b0 + 16 * p, 64);
                _tile_loadd(7, b1 + 16 * p, 64);
                _tile_loadd(5, a1 + p, 2 * lda);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, out, 4 * ldc);
            _tile_stored(1, out + 16, 4 * ldc);
            _tile_stored(2, out + 16 * (size_t)ldc, 4 * ldc);
            _tile_stored(3, out + 16 * (size_t)ldc + 16, 4 * ldc);
        }
    __asm__ volatile("" ::: "memory");
#else
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j += 16) {
            float sum[16] = {0};
            for (int p = 0; p < k; p += 2) {
                const bf16* w = b + (size_t)j * bk + 16 * p;
                const float x = from_bf16(a[(size_t)i * lda + p]), y = from_bf16(a[(size_t)i * lda + p + 1]);
                for (int q = 0; q < 16; q++) sum[q] += x * from_bf16(w[2 * q]) + y * from_bf16(w[2 * q + 1]);
            }
            for (int q = 0; q < 16; q++) c[(size_t)i * ldc + j + q] = (add ? c[(size_t)i * ldc + j + q] : 0) + sum[q];
        }
#endif
}
static void begin_thread(void) {
#ifdef __AMX_BF16__
    struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
#endif
}

/* Parameters ------------------------------------------------------------------------------------------------------ */

typedef struct {
    char name[64];
    int rows, cols; /* one row for a vector */
    float *w, *g[MAX_THREADS], *m, *v;
    bf16 *rounded, *forward, *backward;
} Param;
static Param params[512], *embed, *last_norm;
static int n_params, n_threads = 2;
typedef struct { Param *norm1, *q, *k, *v, *o, *norm2, *gate, *up, *down; } Layer;
static Layer layers[64];

static uint64_t rng_state = 88172645463325252ull;
static double uniform(void) {
    rng_state ^= rng_state << 13, rng_state ^= rng_state >> 7, rng_state ^= rng_state << 17;
    return (double)(rng_state >> 11) / 9007199254740992.0;
}
static double normal(void) { return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform()); }

static Param* add_param(int rows, int cols, double std, const char* format, ...) {
    Param* p = &params[n_params++];
    va_list list; va_start(list, format); vsnprintf(p->name, sizeof p->name, format, list); va_end(list);
    size_t n = (size_t)rows * cols;
    p->rows = rows, p->cols = cols, p->w = TAKE(float, n), p->m = TAKE(float, n), p->v = TAKE(float, n);
    for (int t = 0; t < n_threads; t++) p->g[t] = TAKE(float, n);
    if (rows > 1) p->rounded = TAKE(bf16, n), p->forward = TAKE(bf16, n), p->backward = TAKE(bf16, n);
    for (size_t i = 0; i < n; i++) p->w[i] = (float)(rows > 1 ? normal() * std : 1);
    return p;
}
static void pack_param(Param* p) {
    if (p->rows == 1) return;
    round_all(p->rounded, p->w, (size_t)p->rows * p->cols);
    pack_nk(p->forward, p->rounded, p->cols, p->rows, p->cols);
    pack_kn(p->backward, p->rounded, p->cols, p->rows, p->cols);
}

/* One sequence, there and back ------------------------------------------------------------------------------------ */

typedef struct { float *x, *mid, *rms1, *rms2; bf16 *a, *q, *k, *v, *p, *att, *n2, *gate, *up, *act; } Saved;
typedef struct {
    Saved saved[64];
    float *x, *xn_rms, *wide, *wide2, *scores, *dx, *da, *dq, *dk, *dv, *row;
    bf16 *xn, *narrow, *narrow2, *pack, *tall, *ds, *dst, *dlogits;
} Work;
static float rope_cos[T][D / 2], rope_sin[T][D / 2];

static Work* new_work(void) {
    Work* w = TAKE(Work, 1);
    const int wide = F > H ? F : H;
    for (int l = 0; l < L; l++) {
        Saved* s = &w->saved[l];
        s->x = TAKE(float, T * H), s->mid = TAKE(float, T * H), s->rms1 = TAKE(float, T), s->rms2 = TAKE(float, T);
        s->a = TAKE(bf16, T * H), s->q = TAKE(bf16, T * H), s->k = TAKE(bf16, T * KV), s->v = TAKE(bf16, T * KV), s->p = TAKE(bf16, (size_t)NH * T * T);
        s->att = TAKE(bf16, T * H), s->n2 = TAKE(bf16, T * H), s->gate = TAKE(bf16, T * F), s->up = TAKE(bf16, T * F), s->act = TAKE(bf16, T * F);
    }
    w->x = TAKE(float, T * H), w->xn_rms = TAKE(float, T), w->wide = TAKE(float, T * wide), w->wide2 = TAKE(float, T * wide), w->scores = TAKE(float, BLOCK * VOCAB);
    w->dx = TAKE(float, T * H), w->da = TAKE(float, T * H), w->dq = TAKE(float, T * H), w->dk = TAKE(float, T * KV), w->dv = TAKE(float, T * KV), w->row = TAKE(float, T);
    w->xn = TAKE(bf16, T * H), w->narrow = TAKE(bf16, T * wide), w->narrow2 = TAKE(bf16, T * wide), w->pack = TAKE(bf16, T * wide), w->tall = TAKE(bf16, T * (VOCAB > wide ? VOCAB : wide));
    w->ds = TAKE(bf16, T * T), w->dst = TAKE(bf16, T * T), w->dlogits = TAKE(bf16, T * VOCAB);
    return w;
}

static void norm(bf16* out, float* rms, const float* x, const float* g) {
    for (int t = 0; t < T; t++) {
        const float* row = x + (size_t)t * H;
        float sum = 0;
        for (int i = 0; i < H; i++) sum += row[i] * row[i];
        const float r = rms[t] = 1 / sqrtf(sum / H + 1e-5f);
        for (int i = 0; i < H; i++) out[(size_t)t * H + i] = to_bf16(row[i] * r * g[i]);
    }
}
/* dx += the gradient through the norm of x, given dy */
static void norm_back(float* dx, float* dg, const float* dy, const float* x, const float* rms, const float* g) {
    for (int t = 0; t < T; t++) {
        const float *row = x + (size_t)t * H, *d = dy + (size_t)t * H, r = rms[t];
        float dot = 0;
        for (int i = 0; i < H; i++) dot += d[i] * g[i] * row[i];
        const float c = dot * r * r * r / H;
        for (int i = 0; i < H; i++) dg[i] += d[i] * row[i] * r, dx[(size_t)t * H + i] += d[i] * g[i] * r - c * row[i];
    }
}
static void rotate(float* x, int ld, int heads, float sign) {
    for (int t = 0; t < T; t++)
        for (int h = 0; h < heads; h++) {
            float* v = x + (size_t)t * ld + h * D;
            for (int i = 0; i < D / 2; i++) {
                const float c = rope_cos[t][i], s = sign * rope_sin[t][i], a = v[i], b = v[i + D / 2];
                v[i] = a * c - b * s, v[i + D / 2] = b * c + a * s;
            }
        }
}
static void linear(float* y, const bf16* x, Param* w, int add) { gemm(y, w->rows, x, w->cols, w->forward, w->cols, T, w->rows, w->cols, add); }
/* dx (+)= dy * w and w's gradient += dy^T * x */
static void linear_back(Work* k, float* dx, const bf16* dy, const bf16* x, Param* w, int thread, int add) {
    if (dx) gemm(dx, w->cols, dy, w->rows, w->backward, w->rows, T, w->cols, w->rows, add);
    transpose(k->tall, T, dy, w->rows, T, w->rows);
    pack_kn(k->pack, x, w->cols, T, w->cols);
    gemm(w->g[thread], w->cols, k->tall, T, k->pack, T, w->rows, w->cols, T, 1);
}

static void attend(Work* w, Saved* s) {
    const float scale = 1 / sqrtf(D);
    for (int h = 0; h < NH; h++) {
        const int kv = h * NKV / NH;
        bf16* p = s->p + (size_t)h * T * T;
        pack_nk(w->pack, s->k + kv * D, KV, T, D);
        for (int b = 0; b < T; b += BLOCK) {
            const int n = b + BLOCK;
            gemm(w->scores, T, s->q + (size_t)b * H + h * D, H, w->pack, D, BLOCK, n, D, 0);
            for (int i = 0; i < BLOCK; i++) {
                float *row = w->scores + (size_t)i * T, max = -1e30f, sum = 0;
                const int m = b + i + 1;
                for (int j = 0; j < m; j++) max = row[j] > max ? row[j] : max;
                for (int j = 0; j < m; j++) row[j] = expf((row[j] - max) * scale), sum += row[j];
                const float inv = 1 / sum;
                bf16* out = p + (size_t)(b + i) * T;
                for (int j = 0; j < m; j++) out[j] = to_bf16(row[j] * inv);
                for (int j = m; j < n; j++) out[j] = 0;
            }
        }
        pack_kn(w->pack, s->v + kv * D, KV, T, D);
        for (int b = 0; b < T; b += BLOCK) gemm(w->wide + (size_t)b * H + h * D, H, p + (size_t)b * T, T, w->pack, T, BLOCK, D, b + BLOCK, 0);
    }
    round_all(s->att, w->wide, (size_t)T * H);
}

/* From `d`, the gradient of the heads' output (bf16), to dq, dk and dv. */
static void attend_back(Work* w, Saved* s, const bf16* d) {
    const float scale = 1 / sqrtf(D);
    for (int h = 0; h < NH; h++) {
        const int kv = h * NKV / NH, first = h == 0 || (h - 1) * NKV / NH != kv;
        bf16* p = s->p + (size_t)h * T * T;
        for (int t = 0; t < T; t++) {
            float sum = 0;
            for (int i = 0; i < D; i++) sum += from_bf16(d[(size_t)t * H + h * D + i]) * from_bf16(s->att[(size_t)t * H + h * D + i]);
            w->row[t] = sum;
        }
        pack_nk(w->pack, s->v + kv * D, KV, T, D);
        for (int b = 0; b < T; b += BLOCK) {
            const int n = b + BLOCK;
            gemm(w->scores, T, d + (size_t)b * H + h * D, H, w->pack, D, BLOCK, n, D, 0);
            for (int i = 0; i < BLOCK; i++) {
                const float *row = w->scores + (size_t)i * T, mean = w->row[b + i];
                const bf16* pr = p + (size_t)(b + i) * T;
                bf16* out = w->ds + (size_t)(b + i) * T;
                for (int j = 0; j < n; j++) out[j] = to_bf16(from_bf16(pr[j]) * (row[j] - mean) * scale);
            }
        }
        pack_kn(w->pack, s->k + kv * D, KV, T, D);
        for (int b = 0; b < T; b += BLOCK) gemm(w->dq + (size_t)b * H + h * D, H, w->ds + (size_t)b * T, T, w->pack, T, BLOCK, D, b + BLOCK, 0);
        /* over the rows at and after each block of columns */
        for (int b = 0; b < T; b += BLOCK) transpose(w->dst + (size_t)b * T + b, T, w->ds + (size_t)b * T + b, T, T - b, BLOCK);
        for (int b = 0; b < T; b += BLOCK) {
            pack_kn(w->pack, s->q + (size_t)b * H + h * D, H, T - b, D);
            gemm(w->dk + (size_t)b * KV + kv * D, KV, w->dst + (size_t)b * T + b, T, w->pack, T - b, BLOCK, D, T - b, !first);
        }
        for (int b = 0; b < T; b += BLOCK) transpose(w->dst + (size_t)b * T + b, T, p + (size_t)b * T + b, T, T - b, BLOCK);
        for (int b = 0; b < T; b += BLOCK) {
            pack_kn(w->pack, d + (size_t)b * H + h * D, H, T - b, D);
            gemm(w->dv + (size_t)b * KV + kv * D, KV, w->dst + (size_t)b * T + b, T, w->pack, T - b, BLOCK, D, T - b, !first);
        }
    }
}

/* The mean loss of predicting ids[1..T]; with `back`, the gradients are added to this thread's. */
static double sequence(Work* w, const uint16_t* ids, int thread, int back, float weight) {
    for (int t = 0; t < T; t++) memcpy(w->x + (size_t)t * H, embed->w + (size_t)ids[t] * H, 4 * (size_t)H);
    for (int l = 0; l < L; l++) {
        Layer* y = &layers[l]; Saved* s = &w->saved[l];
        memcpy(s->x, w->x, 4 * (size_t)T * H);
        norm(s->a, s->rms1, w->x, y->norm1->w);
        linear(w->wide, s->a, y->q, 0), rotate(w->wide, H, NH, 1), round_all(s->q, w->wide, (size_t)T * H);
        linear(w->wide, s->a, y->k, 0), rotate(w->wide, KV, NKV, 1), round_all(s->k, w->wide, (size_t)T * KV);
        linear(w->wide, s->a, y->v, 0), round_all(s->v, w->wide, (size_t)T * KV);
        attend(w, s);
        linear(w->x, s->att, y->o, 1);
        memcpy(s->mid, w->x, 4 * (size_t)T * H);
        norm(s->n2, s->rms2, w->x, y->norm2->w);
        linear(w->wide, s->n2, y->gate, 0), linear(w->wide2, s->n2, y->up, 0);
        for (size_t i = 0; i < (size_t)T * F; i++) {
            const float g = w->wide[i], u = w->wide2[i];
            s->gate[i] = to_bf16(g), s->up[i] = to_bf16(u), s->act[i] = to_bf16(g / (1 + expf(-g)) * u);
        }
        linear(w->x, s->act, y->down, 1);
    }
    norm(w->xn, w->xn_rms, w->x, last_norm->w);
    double loss = 0;
    for (int b = 0; b < T; b += BLOCK) {
        gemm(w->scores, VOCAB, w->xn + (size_t)b * H, H, embed->forward, H, BLOCK, VOCAB, H, 0);
        for (int i = 0; i < BLOCK; i++) {
            float *row = w->scores + (size_t)i * VOCAB, max = -1e30f, sum = 0;
            const int target = ids[b + i + 1];
            const float z = row[target];
            for (int j = 0; j < VOCAB; j++) max = row[j] > max ? row[j] : max;
            for (int j = 0; j < VOCAB; j++) row[j] = expf(row[j] - max), sum += row[j];
            loss += logf(sum) + max - z;
            const float inv = weight / sum;
            bf16* out = w->dlogits + (size_t)(b + i) * VOCAB;
            for (int j = 0; j < VOCAB; j++) out[j] = to_bf16(row[j] * inv);
            out[target] = to_bf16(row[target] * inv - weight);
        }
    }
    if (!back) return loss / T;

    linear_back(w, w->da, w->dlogits, w->xn, embed, thread, 0);
    memset(w->dx, 0, 4 * (size_t)T * H);
    norm_back(w->dx, last_norm->g[thread], w->da, w->x, w->xn_rms, last_norm->w);
    for (int l = L - 1; l >= 0; l--) {
        Layer* y = &layers[l]; Saved* s = &w->saved[l];
        round_all(w->narrow, w->dx, (size_t)T * H);
        linear_back(w, w->wide, w->narrow, s->act, y->down, thread, 0);
        for (size_t i = 0; i < (size_t)T * F; i++) {
            const float g = from_bf16(s->gate[i]), u = from_bf16(s->up[i]), sig = 1 / (1 + expf(-g)), d = w->wide[i];
            w->narrow[i] = to_bf16(d * u * sig * (1 + g * (1 - sig))), w->narrow2[i] = to_bf16(d * g * sig);
        }
        linear_back(w, w->da, w->narrow, s->n2, y->gate, thread, 0);
        linear_back(w, w->da, w->narrow2, s->n2, y->up, thread, 1);
        norm_back(w->dx, y->norm2->g[thread], w->da, s->mid, s->rms2, y->norm2->w);
        round_all(w->narrow, w->dx, (size_t)T * H);
        linear_back(w, w->da, w->narrow, s->att, y->o, thread, 0);
        round_all(w->narrow, w->da, (size_t)T * H);
        attend_back(w, s, w->narrow);
        rotate(w->dq, H, NH, -1), rotate(w->dk, KV, NKV, -1);
        round_all(w->narrow, w->dq, (size_t)T * H), linear_back(w, w->da, w->narrow, s->a, y->q, thread, 0);
        round_all(w->narrow, w->dk, (size_t)T * KV), linear_back(w, w->da, w->narrow, s->a, y->k, thread, 1);
        round_all(w->narrow, w->dv, (size_t)T * KV), linear_back(w, w->da, w->narrow, s->a, y->v, thread, 1);
        norm_back(w->dx, y->norm1->g[thread], w->da, s->x, s->rms1, y->norm1->w);
    }
    for (int t = 0; t < T; t++) {
        float* g = embed->g[thread] + (size_t)ids[t] * H;
        for (int i = 0; i < H; i++) g[i] += w->dx[(size_t)t * H + i];
    }
    return loss / T;
}

/* Updates --------------------------------------------------------------------------------------------------------- */

static void adam(Param* p, double rate, double decay, int step) {
    const float b1 = 0.9f, b2 = 0.95f, c1 = 1 - powf(b1, step), c2 = 1 - powf(b2, step);
    for (size_t i = 0, n = (size_t)p->rows * p->cols; i < n; i++) {
        const float g = p->g[0][i];
        p->m[i] = b1 * p->m[i] + (1 - b1) * g, p->v[i] = b2 * p->v[i] + (1 - b2) * g * g;
        p->w[i] -= (float)rate * (p->m[i] / c1 / (sqrtf(p->v[i] / c2) + 1e-8f) + (float)decay * p->w[i]);
    }
}
/* Muon: the momentum with all its singular values near 1, by Newton and Schulz's iteration (Jordan et al. 2024). */
static void muon(Param* p, double rate, double decay) {
    const int r = p->rows < p->cols ? p->rows : p->cols, c = p->rows < p->cols ? p->cols : p->rows, turned = p->rows > p->cols;
    const size_t n = (size_t)r * c;
    float *x = malloc(4 * n), *a = malloc(4 * (size_t)r * r), *b = malloc(4 * (size_t)r * r);
    bf16 *xb = aligned_alloc(64, 2 * n), *pack = aligned_alloc(64, 2 * n), *ab = aligned_alloc(64, 2 * (size_t)r * r), *apack = aligned_alloc(64, 2 * (size_t)r * r);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        p->m[i] = 0.95f * p->m[i] + p->g[0][i];
        const float u = p->g[0][i] + 0.95f * p->m[i];
        sum += (double)u * u;
        x[turned ? i % p->cols * c + i / p->cols : i] = u;
    }
    const float inv = (float)(1 / (sqrt(sum) + 1e-12));
    for (size_t i = 0; i < n; i++) x[i] *= inv;
    for (int k = 0; k < 5; k++) {
        round_all(xb, x, n);
        pack_nk(pack, xb, c, r, c);
        gemm(a, r, xb, c, pack, c, r, r, c, 0); /* x x^T */
        round_all(ab, a, (size_t)r * r);
        pack_kn(apack, ab, r, r, r);
        gemm(b, r, ab, r, apack, r, r, r, r, 0);
        for (size_t i = 0; i < (size_t)r * r; i++) b[i] = -4.7750f * a[i] + 2.0315f * b[i];
        round_all(ab, b, (size_t)r * r);
        pack_kn(pack, xb, c, r, c);
        for (size_t i = 0; i < n; i++) x[i] *= 3.4445f;
        gemm(x, c, ab, r, pack, r, r, c, r, 1);
    }
    const float scale = (float)(rate * 0.2 * sqrt(c)), keep = (float)(1 - rate * decay);
    for (size_t i = 0; i < n; i++) p->w[i] = p->w[i] * keep - scale * x[turned ? i % p->cols * c + i / p->cols : i];
    free(x), free(a), free(b), free(xb), free(pack), free(ab), free(apack);
}

/* Files ----------------------------------------------------------------------------------------------------------- */

static uint16_t* read_tokens(const char* path, size_t* n) {
    FILE* f = fopen(path, "rb");
    if (!f) { perror(path); exit(1); }
    fseek(f, 0, SEEK_END), *n = (size_t)ftell(f) / 2, rewind(f);
    uint16_t* ids = malloc(*n * 2);
    if (!ids || fread(ids, 2, *n, f) != *n || *n < 64 * T) { fprintf(stderr, "%s: cannot be read, or too short\n", path); exit(1); }
    fclose(f);
    for (size_t i = 0; i < *n; i++) if (ids[i] >= VOCAB) { fprintf(stderr, "%s: an id beyond %d\n", path, VOCAB); exit(1); }
    return ids;
}
static void save(const char* dir) {
    char path[1024], part[1024];
    char* head = calloc(1, 1 << 20);
    size_t n = 0, at = 0;
    n += (size_t)sprintf(head, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < n_params; i++) {
        Param* p = &params[i]; size_t bytes = 4 * (size_t)p->rows * p->cols; char shape[64];
        if (p->rows > 1) sprintf(shape, "%d,%d", p->rows, p->cols); else sprintf(shape, "%d", p->cols);
        n += (size_t)sprintf(head + n, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", p->name, shape, at, at + bytes), at += bytes;
    }
    n += (size_t)sprintf(head + n, "}");
    while (n % 8) head[n++] = ' ';
    snprintf(path, sizeof path, "%s/model.safetensors", dir), snprintf(part, sizeof part, "%s/model.safetensors.part", dir);
    FILE* f = fopen(part, "wb");
    if (!f) { perror(part); exit(1); }
    uint64_t n64 = n; int ok = fwrite(&n64, 8, 1, f) == 1 && fwrite(head, 1, n, f) == n;
    for (int i = 0; i < n_params; i++) ok &= fwrite(params[i].w, 4, (size_t)params[i].rows * params[i].cols, f) == (size_t)params[i].rows * params[i].cols;
    if (fclose(f) || !ok || rename(part, path)) { perror(path); exit(1); }
    free(head);
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (!(f = fopen(path, "w"))) { perror(path); exit(1); }
    fprintf(f, "{\n \"architectures\": [\"LlamaForCausalLM\"],\n \"model_type\": \"llama\",\n \"hidden_size\": %d,\n \"intermediate_size\": %d,\n \"num_hidden_layers\": %d,\n \"num_attention_heads\": %d,\n"
               " \"num_key_value_heads\": %d,\n \"head_dim\": %d,\n \"vocab_size\": %d,\n \"max_position_embeddings\": %d,\n \"rms_norm_eps\": 1e-05,\n \"rope_theta\": 10000.0,\n \"hidden_act\": \"silu\",\n"
               " \"tie_word_embeddings\": true,\n \"attention_bias\": false,\n \"mlp_bias\": false,\n \"bos_token_id\": 0,\n \"eos_token_id\": 0,\n \"torch_dtype\": \"float32\"\n}\n", H, F, L, NH, NKV, D, VOCAB, T);
    fclose(f);
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec; }

int main(int argc, char** argv) {
    if (argc < 5) { fprintf(stderr, "usage: train TOKENS.bin VALID.bin OUT_DIR MINUTES [THREADS] [LAYERS] [HIDDEN] [FFN] [RATE]\n"); return 2; }
    const double minutes = atof(argv[4]), peak = argc > 9 ? atof(argv[9]) : 3e-3;
    if (argc > 5) n_threads = atoi(argv[5]);
    if (argc > 6) L = atoi(argv[6]);
    if (argc > 7) H = atoi(argv[7]);
    if (argc > 8) F = atoi(argv[8]);
    NH = H / D, NKV = NH / 2, KV = NKV * D;
    if (n_threads < 1 || n_threads > MAX_THREADS || L < 1 || L > 56 || H % 64 || F % 32 || NH % 2) { fprintf(stderr, "sizes out of range\n"); return 2; }
#ifdef __AMX_BF16__
    if (syscall(SYS_arch_prctl, 0x1023, 18)) { perror("AMX"); return 1; }
#endif
    size_t n_train, n_valid;
    uint16_t *train = read_tokens(argv[1], &n_train), *valid = read_tokens(argv[2], &n_valid);
    for (int t = 0; t < T; t++) for (int i = 0; i < D / 2; i++) {
        const double angle = t * pow(10000, -2.0 * i / D);
        rope_cos[t][i] = (float)cos(angle), rope_sin[t][i] = (float)sin(angle);
    }
    const double out_std = 0.02 / sqrt(2.0 * L);
    embed = add_param(VOCAB, H, 0.02, "model.embed_tokens.weight"), last_norm = add_param(1, H, 0, "model.norm.weight");
    for (int l = 0; l < L; l++) {
        Layer* y = &layers[l];
        y->norm1 = add_param(1, H, 0, "model.layers.%d.input_layernorm.weight", l), y->norm2 = add_param(1, H, 0, "model.layers.%d.post_attention_layernorm.weight", l);
        y->q = add_param(H, H, 0.02, "model.layers.%d.self_attn.q_proj.weight", l), y->k = add_param(KV, H, 0.02, "model.layers.%d.self_attn.k_proj.weight", l);
        y->v = add_param(KV, H, 0.02, "model.layers.%d.self_attn.v_proj.weight", l), y->o = add_param(H, H, out_std, "model.layers.%d.self_attn.o_proj.weight", l);
        y->gate = add_param(F, H, 0.02, "model.layers.%d.mlp.gate_proj.weight", l), y->up = add_param(F, H, 0.02, "model.layers.%d.mlp.up_proj.weight", l);
        y->down = add_param(H, F, out_std, "model.layers.%d.mlp.down_proj.weight", l);
    }
    size_t total = 0;
    for (int i = 0; i < n_params; i++) total += (size_t)params[i].rows * params[i].cols, pack_param(&params[i]);
    printf("%.2f million parameters\n", 1e-6 * (double)total);

    Work* work[MAX_THREADS];
    for (int t = 0; t < n_threads; t++) work[t] = new_work();
    static uint16_t batch[SEQS][T + 1];
    double start = now(), next_log = 0, mean = 0; int step = 0; long tokens = 0;
    char path[1024]; snprintf(path, sizeof path, "%s/train_log.json", argv[3]);
    FILE* log = fopen(path, "w");
    if (!log) { perror(path); return 1; }
    for (int last = 0;; step++) {
        const double done = (now() - start) / 60 / minutes;
        last = done >= 1;
        if (done * minutes >= next_log || last) {
            next_log += minutes / 40;
            double sum = 0;
            #pragma omp parallel num_threads(n_threads) reduction(+ : sum)
            {
                begin_thread();
                #pragma omp for schedule(dynamic)
                for (int i = 0; i < 64; i++) sum += sequence(work[omp_get_thread_num()], valid + (size_t)i * ((n_valid - T - 1) / 64), omp_get_thread_num(), 0, 0);
            }
            fprintf(log, "%s{\"step\": %d, \"minutes\": %.1f, \"tokens\": %ld, \"train\": %.4f, \"valid\": %.4f}", step ? ",\n" : "[", step, done * minutes, tokens, mean, sum / 64), fflush(log);
            printf("step %d, %.1f minutes, %ld tokens: train %.4f, valid %.4f; %.0f tokens/s, %.0f minutes left\n", step, done * minutes, tokens, mean, sum / 64, (double)tokens / (now() - start), (1 - done) * minutes), fflush(stdout);
            save(argv[3]);
            if (last) break;
        }
        for (int s = 0; s < SEQS; s++) memcpy(batch[s], train + (size_t)(uniform() * (double)(n_train - T - 1)), 2 * (T + 1));
        const double warm = (step + 1) / 100.0, decay = (1 - done) / 0.6, rate = peak * fmin(1, warm) * fmin(1, fmax(decay, 0.01));
        double loss = 0, norm2 = 0;
        #pragma omp parallel num_threads(n_threads) reduction(+ : loss, norm2)
        {
            const int me = omp_get_thread_num();
            begin_thread();
            for (int i = 0; i < n_params; i++) memset(params[i].g[me], 0, 4 * (size_t)params[i].rows * params[i].cols);
            #pragma omp for schedule(dynamic)
            for (int s = 0; s < SEQS; s++) loss += sequence(work[me], batch[s], me, 1, 1.0f / (SEQS * T)) / SEQS;
            #pragma omp for schedule(dynamic)
            for (int i = 0; i < n_params; i++)
                for (size_t j = 0, n = (size_t)params[i].rows * params[i].cols; j < n; j++) {
                    float g = params[i].g[0][j];
                    for (int t = 1; t < n_threads; t++) g += params[i].g[t][j];
                    params[i].g[0][j] = g, norm2 += (double)g * g;
                }
        }
        if (!(norm2 < 1e8)) { fprintf(stderr, "the loss went astray\n"); return 1; }
        const float clip = norm2 > 1 ? (float)(1 / sqrt(norm2)) : 1;
        #pragma omp parallel num_threads(n_threads)
        {
            begin_thread();
            #pragma omp for schedule(dynamic)
            for (int i = 0; i < n_params; i++) {
                Param* p = &params[i];
                for (size_t j = 0, n = (size_t)p->rows * p->cols; j < n; j++) p->g[0][j] *= clip;
                if (p == embed || p->rows == 1) adam(p, rate, p == embed ? 0.02 : 0, step + 1);
                else muon(p, rate, 0.1);
                pack_param(p);
            }
        }
        tokens += SEQS * T, mean = step ? 0.98 * mean + 0.02 * loss : loss;
    }
    fprintf(log, "]\n");
    return fclose(log) != 0;
}
