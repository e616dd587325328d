#if defined(__GNUC__)
#define UVA_INLINE static inline __attribute__((always_inline))
#else
#define UVA_INLINE static inline
#endif

/* Keeps a vector in a register: left to itself, a compiler loads a weight again for every pixel it meets. */
#if defined(__GNUC__) && !defined(UVA_NO_ASM)
#define UVA_IN_REGISTER(constraint, v) __asm__("" : constraint(v))
#else
#define UVA_IN_REGISTER(constraint, v)
#endif

/* C leaves to the compiler what >> makes of a negative number: here it must fill in the sign. */
typedef char uva_shifts_keep_the_sign[(-5 >> 1) == -3 ? 1 : -1];

/* What it is compiled for. Dot products of signed bytes want activations, and so biases, of their own. */
#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#define UVA_SIGNED 1
#else
#define UVA_SIGNED 0
#endif
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
