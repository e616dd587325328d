/* Types are the same in the headers of all models: a file that includes several has them once. */
#ifndef UVA_STATUS
#define UVA_STATUS
/* What every function that can fail returns: UVA_OK, or one of the negative errors. */
enum {
    UVA_OK = 0,
    UVA_ERROR_NULL = -1,   /* a pointer is NULL */
    UVA_ERROR_SIZE = -2,   /* a width or height outside 1..32768, or one that the pixel format forbids */
    UVA_ERROR_STRIDE = -3, /* a stride shorter than its row, or negative where that has no meaning */
    UVA_ERROR_RANGE = -4,  /* a YUV range that is none of enum uva_yuv_range */
    UVA_ERROR_ARENA = -5,  /* the arena is too small */
    UVA_ERROR_STATE = -6,  /* the state was not initialised */
    UVA_ERROR_ALIGN = -7   /* a buffer is not aligned as its documentation asks */
};
#endif

/* What a status means, in English and one line; never NULL, also for a number that is no status. */
const char *uva_strerror(int status);
