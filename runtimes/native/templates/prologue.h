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

/* size / stride, which is 1 or 2: some processors have no division, and a compiler calls for one. */
static int32_t uva_strided(int32_t size, int32_t stride)
{
    return stride == 1 ? size : size / 2;
}
