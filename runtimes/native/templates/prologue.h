#if defined(__GNUC__)
#define UVA_INLINE static inline __attribute__((always_inline))
#else
#define UVA_INLINE static inline
#endif

/* What it is compiled for. */
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define UVA_KERNELS "avx512_vnni"
#elif defined(__AVX512F__)
#define UVA_KERNELS "avx512"
#elif defined(__AVX2__) && defined(__FMA__)
#define UVA_KERNELS "avx2"
#elif defined(__ARM_NEON)
#define UVA_KERNELS "neon"
#else
#define UVA_KERNELS "portable"
#endif
