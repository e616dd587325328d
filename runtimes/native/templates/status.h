#ifndef UVA_STATUS
#define UVA_STATUS
enum { UVA_OK = 0, UVA_ERROR_NULL = -1, UVA_ERROR_SIZE = -2, UVA_ERROR_STRIDE = -3, UVA_ERROR_RANGE = -4, UVA_ERROR_ARENA = -5, UVA_ERROR_STATE = -6, UVA_ERROR_ALIGN = -7 };
#endif
const char *uva_strerror(int status);
