/* A case with heap memory of exactly the bytes that are promised, so that AddressSanitizer sees any other. */
#ifndef UVA_TESTS_HEAP_CALL_H
#define UVA_TESTS_HEAP_CALL_H

#include "frame_case.h"

/* Returns 0 if the status was the right one and, unless it was UVA_OK, nothing was written. */
int heap_call(const frame_case *frame);

#endif
