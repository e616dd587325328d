/* AVX-512 in plain C, by SIMDe (Debian: libsimde-dev), for machines that have none: what the kernels compute can be
   tested there, not how fast. SIMDe 0.7 lacks some of what they use. */
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#undef _mm512_packs_epi32
#define _mm512_packs_epi32(a, b) uva_emulated_packs(a, b)
#undef _mm512_sra_epi32
#define _mm512_sra_epi32(a, n) uva_emulated_shift(a, n)

static inline simde__m512i uva_emulated_packs(simde__m512i a, simde__m512i b)
{
    simde__m512i_private x = simde__m512i_to_private(a);
    simde__m512i_private y = simde__m512i_to_private(b);
    for (int half = 0; half < 2; half++) {
        x.m256i[half] = simde_mm256_packs_epi32(x.m256i[half], y.m256i[half]);
    }
    return simde__m512i_from_private(x);
}

static inline simde__m512i uva_emulated_shift(simde__m512i a, simde__m128i count)
{
    simde__m512i_private x = simde__m512i_to_private(a);
    for (int lane = 0; lane < 16; lane++) {
        x.i32[lane] >>= simde_mm_cvtsi128_si32(count);
    }
    return simde__m512i_from_private(x);
}
