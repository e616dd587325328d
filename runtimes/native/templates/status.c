const char *uva_strerror(int status)
{
    switch (status) {
    case UVA_OK:
        return "success";
    case UVA_ERROR_NULL:
        return "a pointer is NULL";
    case UVA_ERROR_SIZE:
        return "width or height is outside 1..32768, or one that the pixel format forbids";
    case UVA_ERROR_STRIDE:
        return "a stride is shorter than its row of pixels, or negative where that has no meaning";
    case UVA_ERROR_RANGE:
        return "the YUV range is neither UVA_YUV_LIMITED nor UVA_YUV_FULL";
    case UVA_ERROR_ARENA:
        return "the arena is too small";
    case UVA_ERROR_STATE:
        return "the state was not initialised";
    case UVA_ERROR_ALIGN:
        return "a buffer is not aligned as its documentation asks";
    default:
        return "unknown status";
    }
}
