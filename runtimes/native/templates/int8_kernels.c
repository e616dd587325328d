/* --- int8: layouts ---------------------------------------------------------------------------------------
   A tile is 4 neighbouring pixels of a row, a panel 16 channels, a quad 4 channels.

   values   uint8 [tiles][quads][4 pixels][4 channels]: what a product reads, four channels at a time
   hidden   uint8 [rows + 2][tiles + 2][channels][4 pixels], margins zero: what the depthwise convolution reads
   wide     int16 [tiles][panels][2 pairs][4 quads][2 pixels][4 channels]: what is added up, and the state

   They are what the saturating packs of x86 leave behind, so nothing is ever shuffled into place. Vectors of
   constants that meet `wide` repeat every quad twice: 32 a panel. */

#define UVA_PANEL 16
#define UVA_TILE 4

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>
#define UVA_KERNELS "avx512_vnni"
#define UVA_VECTORS 1
typedef __m512i uva_ints;
#define UVA_PARTS 1
#define UVA_TILES 2
#define UVA_PANELS 2
#define uva_load(p) _mm512_loadu_si512(p)
#define uva_store(p, v) _mm512_storeu_si512(p, v)
#define uva_same32(x) _mm512_set1_epi32(x)
#define uva_same16(x) _mm512_set1_epi16(x)
#define uva_dot(sum, bytes, weight) _mm512_dpbusd_epi32(sum, bytes, weight)
#define uva_add32(a, b) _mm512_add_epi32(a, b)
#define uva_shift_right(v, n) _mm512_sra_epi32(v, _mm_cvtsi32_si128(n))
#define uva_pack32(a, b) _mm512_packs_epi32(a, b)
#define uva_pack16(a, b) _mm512_packus_epi16(a, b)
#define uva_scale(a, b) _mm512_mulhrs_epi16(a, b)
#define uva_add16(a, b) _mm512_adds_epi16(a, b)
#define uva_subtract16(a, b) _mm512_subs_epi16(a, b)
#define uva_max16(a, b) _mm512_max_epi16(a, b)
#define uva_interleave_low(a, b) _mm512_unpacklo_epi16(a, b)
#define uva_interleave_high(a, b) _mm512_unpackhi_epi16(a, b)
#define uva_pairs(a, b) _mm512_madd_epi16(a, b)
#define uva_transpose(v) _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(uva_by_channel()))
#define uva_later(a, b) _mm512_or_si512(_mm512_srli_epi32(a, 24), _mm512_slli_epi32(b, 8))
#define uva_sooner(a, b) _mm512_or_si512(_mm512_srli_epi32(a, 8), _mm512_slli_epi32(b, 24))
#define uva_shift_taps(w) _mm512_slli_epi32(w, 8)
#define UVA_KEEP(v) UVA_IN_REGISTER("+v", v)
#elif defined(__AVX2__)
#include <immintrin.h>
#define UVA_VECTORS 1
typedef __m256i uva_ints;
#define UVA_PARTS 2
#define UVA_TILES 1
#define UVA_PANELS 1
#define uva_load(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define uva_store(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define uva_same32(x) _mm256_set1_epi32(x)
#define uva_same16(x) _mm256_set1_epi16(x)
#if defined(__AVXVNNI__)
#define UVA_KERNELS "avx_vnni"
#define uva_dot(sum, bytes, weight) _mm256_dpbusd_avx_epi32(sum, bytes, weight)
#else
#define UVA_KERNELS "avx2"
/* Weights have seven bits: pairs of products never saturate. */
#define uva_dot(sum, bytes, weight) \
    _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, weight), _mm256_set1_epi16(1)))
#endif
#define uva_add32(a, b) _mm256_add_epi32(a, b)
#define uva_shift_right(v, n) _mm256_sra_epi32(v, _mm_cvtsi32_si128(n))
#define uva_pack32(a, b) _mm256_packs_epi32(a, b)
#define uva_pack16(a, b) _mm256_packus_epi16(a, b)
#define uva_scale(a, b) _mm256_mulhrs_epi16(a, b)
#define uva_add16(a, b) _mm256_adds_epi16(a, b)
#define uva_subtract16(a, b) _mm256_subs_epi16(a, b)
#define uva_max16(a, b) _mm256_max_epi16(a, b)
#define uva_interleave_low(a, b) _mm256_unpacklo_epi16(a, b)
#define uva_interleave_high(a, b) _mm256_unpackhi_epi16(a, b)
#define uva_pairs(a, b) _mm256_madd_epi16(a, b)
#define uva_transpose(v) _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(uva_by_channel()))
#define uva_later(a, b) _mm256_or_si256(_mm256_srli_epi32(a, 24), _mm256_slli_epi32(b, 8))
#define uva_sooner(a, b) _mm256_or_si256(_mm256_srli_epi32(a, 8), _mm256_slli_epi32(b, 24))
#define uva_shift_taps(w) _mm256_slli_epi32(w, 8)
#define UVA_KEEP(v) UVA_IN_REGISTER("+x", v)
#elif defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#include <arm_neon.h>
#define UVA_KERNELS "neon_dotprod"
#define UVA_VECTORS 1
typedef int32x4_t uva_ints;
#define UVA_PARTS 4
#define UVA_TILES 1
#define UVA_PANELS 1
#define uva_halves(v) vreinterpretq_s16_s32(v)
#define uva_whole(v) vreinterpretq_s32_s16(v)
#define uva_load(p) vld1q_s32((const int32_t *)(const void *)(p))
#define uva_store(p, v) vst1q_s32((int32_t *)(void *)(p), v)
#define uva_same32(x) vdupq_n_s32(x)
#define uva_same16(x) uva_whole(vdupq_n_s16(x))
#define uva_dot(sum, bytes, weight) vdotq_s32(sum, vreinterpretq_s8_s32(weight), vreinterpretq_s8_s32(bytes))
#define uva_add32(a, b) vaddq_s32(a, b)
#define uva_shift_right(v, n) vshlq_s32(v, vdupq_n_s32(-(n)))
#define uva_pack32(a, b) uva_whole(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)))
#define uva_pack16(a, b) \
    vreinterpretq_s32_u8(vcombine_u8(vqmovun_s16(uva_halves(a)), vqmovun_s16(uva_halves(b))))
#define uva_scale(a, b) uva_whole(vqrdmulhq_s16(uva_halves(a), uva_halves(b)))
#define uva_add16(a, b) uva_whole(vqaddq_s16(uva_halves(a), uva_halves(b)))
#define uva_subtract16(a, b) uva_whole(vqsubq_s16(uva_halves(a), uva_halves(b)))
#define uva_max16(a, b) uva_whole(vmaxq_s16(uva_halves(a), uva_halves(b)))
#define uva_interleave_low(a, b) uva_whole(vzip1q_s16(uva_halves(a), uva_halves(b)))
#define uva_interleave_high(a, b) uva_whole(vzip2q_s16(uva_halves(a), uva_halves(b)))
#define uva_pairs(a, b)                                                                    \
    vpaddq_s32(vmull_s16(vget_low_s16(uva_halves(a)), vget_low_s16(uva_halves(b))),        \
               vmull_high_s16(uva_halves(a), uva_halves(b)))
#define uva_transpose(v) vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(v), uva_by_channel()))
#define uva_later(a, b) vsliq_n_s32(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), 24)), b, 8)
#define uva_sooner(a, b) vsliq_n_s32(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), 8)), b, 24)
#define uva_shift_taps(w) vshlq_n_s32(w, 8)
#define UVA_KEEP(v)
/* Its dot product is of signed bytes: activations are taken less 128, and biases have 128 times the weights' sum. */
#define UVA_SIGNED 1
#define uva_signed(v) veorq_s32(v, vdupq_n_s32((int32_t)0x80808080u))
#else
#define UVA_KERNELS "portable"
#define UVA_VECTORS 0
#endif

#if !defined(UVA_SIGNED)
#define UVA_SIGNED 0
#endif

#if UVA_SIGNED
UVA_INLINE uint8x16_t uva_by_channel(void)
{
    static const uint8_t order[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return vld1q_u8(order);
}
#elif UVA_VECTORS
#define uva_signed(v) (v)

UVA_INLINE __m128i uva_by_channel(void)
{
    return _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}
#endif

/* Weights [panels][quads of the depth][16][4], biases [panels][16] with the rounding of the shift in them, multipliers
   [panels][32] as of `wide`. */
typedef struct {
    const int8_t *weight;
    const int32_t *bias;
    const int16_t *multiplier;
    int32_t shift;
    int32_t panels;
} uva_product;

/* Where the inputs of a product lie: at each pixel `segments` runs of `quads` times 4 bytes. Strides in bytes. */
typedef struct {
    const uint8_t *data;
    ptrdiff_t row;
    ptrdiff_t tile;
    ptrdiff_t pixel;
    ptrdiff_t quad;
    ptrdiff_t segment;
    int32_t segments;
    int32_t quads;
} uva_source;

/* Where its outputs go, and as what. */
enum { UVA_VALUES, UVA_HIDDEN, UVA_WIDE, UVA_SUMS };
typedef struct {
    void *data;
    ptrdiff_t row;
    ptrdiff_t tile;
    ptrdiff_t panel;
    int kind;
} uva_target;

/* --- int8: products --------------------------------------------------------------------------------------- */

/* A Q15 product, as PMULHRSW, SQRDMULH and the reference round it. */
static int32_t uva_scaled(int32_t value, int32_t multiplier)
{
    return (value * multiplier + (1 << 14)) >> 15;
}

#if UVA_VECTORS
static int32_t uva_quad(const uint8_t *bytes)
{
    int32_t quad;
    memcpy(&quad, bytes, sizeof quad);
    return quad;
}

/* The sums of one tile and panel, [4][UVA_PARTS], to where they belong. */
UVA_INLINE void uva_finish(const uva_product *product, int32_t panel, uva_ints sum[UVA_TILE][UVA_PARTS], int kind,
                              uint8_t *to)
{
    for (int part = 0; part < UVA_PARTS; part++) {
        uva_ints *out = (uva_ints *)(void *)to + part;
        if (kind == UVA_SUMS) {
            for (int pixel = 0; pixel < UVA_TILE; pixel++) {
                uva_store((uva_ints *)(void *)to + pixel * UVA_PARTS + part, sum[pixel][part]);
            }
            continue;
        }
        uva_ints low = uva_pack32(uva_shift_right(sum[0][part], product->shift),
                                  uva_shift_right(sum[1][part], product->shift));
        uva_ints high = uva_pack32(uva_shift_right(sum[2][part], product->shift),
                                   uva_shift_right(sum[3][part], product->shift));
        if (kind == UVA_WIDE) {
            uva_store(out, low);
            uva_store(out + UVA_PARTS, high);
            continue;
        }
        uva_ints multiplier = uva_load((const uva_ints *)(const void *)(product->multiplier + panel * 32) + part);
        uva_ints bytes = uva_pack16(uva_scale(low, multiplier), uva_scale(high, multiplier));
        uva_store(out, kind == UVA_HIDDEN ? uva_transpose(bytes) : bytes);
    }
}

/* `tiles` by `panels`, constants where this is inlined. */
UVA_INLINE void uva_tiles(const uva_product *product, const uva_source *source, const uva_target *target,
                             const uint8_t *from, uint8_t *to, int32_t panel, int tiles, int panels)
{
    const ptrdiff_t depth = (ptrdiff_t)source->segments * source->quads * 4 * UVA_PANEL;
    const int8_t *weight = product->weight + panel * depth;
    uva_ints sum[UVA_PANELS][UVA_TILES][UVA_TILE][UVA_PARTS];
    for (int p = 0; p < panels; p++) {
        for (int part = 0; part < UVA_PARTS; part++) {
            uva_ints start = uva_load((const uva_ints *)(const void *)(product->bias + (panel + p) * UVA_PANEL) + part);
            for (int i = 0; i < tiles * UVA_TILE; i++) {
                sum[p][i / UVA_TILE][i % UVA_TILE][part] = start;
            }
        }
    }
    for (int32_t segment = 0; segment < source->segments; segment++) {
        const uint8_t *run = from + segment * source->segment;
        for (int32_t quad = 0; quad < source->quads; quad++) {
            uva_ints w[UVA_PANELS][UVA_PARTS];
            for (int p = 0; p < panels; p++) {
                for (int part = 0; part < UVA_PARTS; part++) {
                    w[p][part] = uva_load((const uva_ints *)(const void *)(weight + p * depth) + part);
                    UVA_KEEP(w[p][part]);
                }
            }
            for (int i = 0; i < tiles * UVA_TILE; i++) {
                const uint8_t *bytes = run + (i / UVA_TILE) * source->tile + (i % UVA_TILE) * source->pixel;
                const uva_ints x = uva_signed(uva_same32(uva_quad(bytes)));
                for (int p = 0; p < panels; p++) {
                    for (int part = 0; part < UVA_PARTS; part++) {
                        uva_ints *at = &sum[p][i / UVA_TILE][i % UVA_TILE][part];
                        *at = uva_dot(*at, x, w[p][part]);
                    }
                }
            }
            run += source->quad;
            weight += 4 * UVA_PANEL;
        }
    }
    for (int p = 0; p < panels; p++) {
        for (int tile = 0; tile < tiles; tile++) {
            uva_finish(product, panel + p, sum[p][tile], target->kind, to + p * target->panel + tile * target->tile);
        }
    }
}
#else
#define UVA_TILES 1
#define UVA_PANELS 1

static int32_t uva_saturate16(int32_t x)
{
    x = x < -32768 ? -32768 : x;
    return x > 32767 ? 32767 : x;
}

static int32_t uva_saturate8(int32_t x)
{
    x = x < 0 ? 0 : x;
    return x > 255 ? 255 : x;
}

static void uva_finish(const uva_product *product, int32_t panel, int32_t sum[UVA_TILE][UVA_PANEL], int kind,
                       uint8_t *to)
{
    for (int pixel = 0; pixel < UVA_TILE; pixel++) {
        if (kind == UVA_SUMS) {
            memcpy(to + pixel * UVA_PANEL * 4, sum[pixel], UVA_PANEL * 4);
            continue;
        }
        for (int channel = 0; channel < UVA_PANEL; channel++) {
            const int quad = channel / 4;
            const int rest = channel % 4;
            const int32_t shifted = uva_saturate16(sum[pixel][channel] >> product->shift);
            if (kind == UVA_WIDE) {
                ((int16_t *)(void *)to)[(pixel / 2) * 32 + quad * 8 + (pixel % 2) * 4 + rest] = (int16_t)shifted;
            } else {
                const int16_t multiplier = product->multiplier[panel * 32 + quad * 8 + rest];
                const uint8_t byte = (uint8_t)uva_saturate8(uva_scaled(shifted, multiplier));
                to[quad * 16 + (kind == UVA_HIDDEN ? rest * 4 + pixel : pixel * 4 + rest)] = byte;
            }
        }
    }
}

static void uva_tiles(const uva_product *product, const uva_source *source, const uva_target *target,
                      const uint8_t *from, uint8_t *to, int32_t panel, int tiles, int panels)
{
    const int8_t *weight = product->weight + (ptrdiff_t)panel * source->segments * source->quads * 4 * UVA_PANEL;
    int32_t sum[UVA_TILE][UVA_PANEL];
    (void)tiles;
    (void)panels;
    for (int pixel = 0; pixel < UVA_TILE; pixel++) {
        memcpy(sum[pixel], product->bias + panel * UVA_PANEL, sizeof sum[pixel]);
    }
    for (int32_t segment = 0; segment < source->segments; segment++) {
        const uint8_t *run = from + segment * source->segment;
        for (int32_t quad = 0; quad < source->quads; quad++) {
            for (int pixel = 0; pixel < UVA_TILE; pixel++) {
                const uint8_t *x = run + pixel * source->pixel;
                for (int channel = 0; channel < UVA_PANEL; channel++) {
                    const int8_t *w = weight + channel * 4;
                    sum[pixel][channel] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
                }
            }
            run += source->quad;
            weight += 4 * UVA_PANEL;
        }
    }
    uva_finish(product, panel, sum, target->kind, to);
}
#endif

/* All tiles of all panels. Panels are outermost: their weights stay in the first cache. */
static void uva_multiply(const uva_product *product, const uva_source *source, const uva_target *target, int32_t rows,
                         int32_t tiles)
{
    for (int32_t panel = 0; panel < product->panels;) {
        const int together = product->panels - panel >= UVA_PANELS ? UVA_PANELS : 1;
        for (int32_t row = 0; row < rows; row++) {
            const uint8_t *from = source->data + row * source->row;
            uint8_t *to = (uint8_t *)target->data + row * target->row + panel * target->panel;
            for (int32_t tile = 0; tile < tiles; tile += UVA_TILES) {
                const uint8_t *f = from + tile * source->tile;
                uint8_t *t = to + tile * target->tile;
                if (together == UVA_PANELS) {
                    uva_tiles(product, source, target, f, t, panel, UVA_TILES, UVA_PANELS);
                } else {
                    uva_tiles(product, source, target, f, t, panel, UVA_TILES, 1);
                }
            }
        }
        panel += together;
    }
}

/* --- int8: depthwise --------------------------------------------------------------------------------------
   3x3 with ReLU6, `hidden` to `values`. Weights [panels][3 rows][16][4], the fourth tap zero. Four bytes hold four
   neighbouring pixels of a channel, so one dot product takes a row of the kernel. */
typedef struct {
    const int8_t *weight;
    const int32_t *bias;
    const int16_t *multiplier;
    int32_t shift;
} uva_taps;

#if UVA_VECTORS
UVA_INLINE void uva_depthwise_tile(const uva_product *as, const int8_t *weight, const uint8_t *at, ptrdiff_t row,
                                      ptrdiff_t block, int32_t panel, int32_t stride, uint8_t *to)
{
    uva_ints sum[UVA_TILE][UVA_PARTS];
    for (int part = 0; part < UVA_PARTS; part++) {
        uva_ints start = uva_load((const uva_ints *)(const void *)(as->bias + panel * UVA_PANEL) + part);
        uva_ints s0 = start;
        uva_ints s1 = start;
        uva_ints s2 = start;
        uva_ints s3 = start;
        for (int tap = 0; tap < 3; tap++) {
            const uint8_t *line = at + tap * row + part * (ptrdiff_t)sizeof(uva_ints);
            const uva_ints before = uva_signed(uva_load(line));
            const uva_ints here = uva_signed(uva_load(line + block));
            const uva_ints after = uva_signed(uva_load(line + 2 * block));
            const uva_ints w = uva_load((const uva_ints *)(const void *)(weight + tap * 4 * UVA_PANEL) + part);
            const uva_ints shifted = uva_shift_taps(w);
            s0 = uva_dot(s0, uva_later(before, here), w);
            if (stride == 1) {
                s1 = uva_dot(s1, here, w);
                s2 = uva_dot(s2, here, shifted);
                s3 = uva_dot(s3, uva_sooner(here, after), shifted);
            } else {
                s1 = uva_dot(s1, here, shifted);
                s2 = uva_dot(s2, uva_later(here, after), w);
                s3 = uva_dot(s3, after, shifted);
            }
        }
        sum[0][part] = s0;
        sum[1][part] = s1;
        sum[2][part] = s2;
        sum[3][part] = s3;
    }
    uva_finish(as, panel, sum, UVA_VALUES, to);
}
#else
static void uva_depthwise_tile(const uva_product *as, const int8_t *weight, const uint8_t *at, ptrdiff_t row,
                               ptrdiff_t block, int32_t panel, int32_t stride, uint8_t *to)
{
    int32_t sum[UVA_TILE][UVA_PANEL];
    for (int pixel = 0; pixel < UVA_TILE; pixel++) {
        memcpy(sum[pixel], as->bias + panel * UVA_PANEL, sizeof sum[pixel]);
    }
    for (int tap = 0; tap < 3; tap++) {
        for (int channel = 0; channel < UVA_PANEL; channel++) {
            const int8_t *w = weight + (tap * UVA_PANEL + channel) * 4;
            uint8_t line[12];
            for (int i = 0; i < 3; i++) {
                memcpy(line + 4 * i, at + tap * row + i * block + channel * 4, 4);
            }
            for (int pixel = 0; pixel < UVA_TILE; pixel++) {
                const uint8_t *x = line + 3 + pixel * stride;
                sum[pixel][channel] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2];
            }
        }
    }
    uva_finish(as, panel, sum, UVA_VALUES, to);
}
#endif

static void uva_depthwise(const uva_taps *taps, const uint8_t *hidden, uint8_t *values, int32_t channels, int32_t size,
                          int32_t stride)
{
    const uva_product as = {NULL, taps->bias, taps->multiplier, taps->shift, 0};
    const ptrdiff_t block = (ptrdiff_t)channels * UVA_TILE;
    const ptrdiff_t row = (size / UVA_TILE + 2) * block;
    const int32_t out = uva_strided(size, stride);
    for (int32_t panel = 0; panel < channels / UVA_PANEL; panel++) {
        const int8_t *weight = taps->weight + (ptrdiff_t)panel * 3 * 4 * UVA_PANEL;
        for (int32_t y = 0; y < out; y++) {
            const uint8_t *line = hidden + (ptrdiff_t)y * stride * row + panel * 4 * UVA_PANEL;
            uint8_t *to = values + (ptrdiff_t)y * (out / UVA_TILE) * block + panel * 4 * UVA_PANEL;
            for (int32_t tile = 0; tile < out / UVA_TILE; tile++) {
                if (stride == 1) {
                    uva_depthwise_tile(&as, weight, line + tile * block, row, block, panel, 1, to + tile * block);
                } else {
                    uva_depthwise_tile(&as, weight, line + 2 * tile * block, row, block, panel, 2, to + tile * block);
                }
            }
        }
    }
}

/* A CA-Res block ([UVA] Fig. 6). */
typedef struct {
    uva_product expand;
    uva_taps depthwise;
    uva_product project;
    const int16_t *gain;    /* [panels][32] as of `wide`, 13 fraction bits */
    const int16_t *squeeze; /* [units][outputs], NULL for no attention */
    const int16_t *excite;  /* [units][outputs] */
    int32_t units;
    int32_t max_pool;
    int32_t mean;
    int32_t squeeze_shift;
    int32_t score;
    int32_t residual; /* factor of the block's own input, 13 fraction bits; 0 for none */
    int32_t narrow;
    int32_t zero;
    int32_t inputs;
    int32_t hidden;
    int32_t outputs;
    int32_t size;
    int32_t stride;
} uva_block;
