/* The functions of NVIDIA's driver that uva_edge calls, on the host's memory: so that cuda-python's own binding, its
   types and conversions, is run where there is no GPU. Work is done at once, or kept while a stream captures. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_CONTEXT = 201, NOT_FOUND = 500 };

typedef struct { void *target; const void *source; size_t size; } Copy;
typedef struct { int capturing, count; Copy copies[64]; } Stream; /* a graph has the same form */

static __thread void *current;
static int context;
static long allocations;

#define NEEDS_CONTEXT do { if (current != &context) return NO_CONTEXT; } while (0)

static CUresult cuInit(unsigned flags) { return flags ? INVALID_VALUE : SUCCESS; }
static CUresult cuDriverGetVersion(int *version) { *version = 12080; return SUCCESS; }
static CUresult cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
static CUresult cuDeviceGet(int *device, int number) { *device = number; return number ? INVALID_VALUE : SUCCESS; }
static CUresult cuDeviceGetName(char *name, int length, int device) { (void)device; snprintf(name, length, "Stub GPU"); return SUCCESS; }
static CUresult cuDeviceTotalMem(size_t *bytes, int device) { (void)device; *bytes = (size_t)4 << 30; return SUCCESS; }
static CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1; /* compute capability, major and minor */
    return SUCCESS;
}
static CUresult cuDevicePrimaryCtxRetain(void **result, int device) { (void)device; *result = &context; return SUCCESS; }
static CUresult cuCtxSetCurrent(void *wanted) { current = wanted; return wanted == &context ? SUCCESS : INVALID_VALUE; }
static CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : "another error";
    return SUCCESS;
}
static CUresult cuMemAlloc(CUdeviceptr *result, size_t size) {
    NEEDS_CONTEXT;
    if (size > (size_t)1 << 30) return OUT_OF_MEMORY;
    allocations++;
    *result = (CUdeviceptr)(uintptr_t)malloc(size);
    return SUCCESS;
}
static CUresult cuMemFree(CUdeviceptr address) { NEEDS_CONTEXT; allocations--; free((void *)(uintptr_t)address); return SUCCESS; }
static CUresult cuMemAllocHost(void **result, size_t size) { NEEDS_CONTEXT; allocations++; *result = malloc(size); return SUCCESS; }
static CUresult cuMemFreeHost(void *address) { NEEDS_CONTEXT; allocations--; free(address); return SUCCESS; }

static CUresult copy(void *target, const void *source, size_t size, Stream *stream) {
    NEEDS_CONTEXT;
    if (stream->capturing) stream->copies[stream->count++] = (Copy){target, source, size};
    else memcpy(target, source, size);
    return SUCCESS;
}
static CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void *source, size_t size, Stream *stream) {
    return copy((void *)(uintptr_t)target, source, size, stream);
}
static CUresult cuMemcpyDtoHAsync(void *target, CUdeviceptr source, size_t size, Stream *stream) {
    return copy(target, (const void *)(uintptr_t)source, size, stream);
}
static CUresult cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t size, Stream *stream) {
    return copy((void *)(uintptr_t)target, (const void *)(uintptr_t)source, size, stream);
}
static CUresult cuMemcpyDtoH(void *target, CUdeviceptr source, size_t size) {
    NEEDS_CONTEXT;
    memcpy(target, (const void *)(uintptr_t)source, size);
    return SUCCESS;
}
static CUresult cuPointerGetAttribute(void *value, int attribute, CUdeviceptr address) {
    (void)address;
    *(int *)value = attribute == 2 ? 2 : 0; /* memory of a device; its number is 0 */
    return SUCCESS;
}
static CUresult cuPointerGetAttributes(unsigned count, const int *attributes, void **values, CUdeviceptr address) {
    for (unsigned i = 0; i < count; i++) cuPointerGetAttribute(values[i], attributes[i], address);
    return SUCCESS;
}
static CUresult cuStreamCreate(Stream **result, unsigned flags) { NEEDS_CONTEXT; *result = calloc(1, sizeof(Stream)); return flags == 1 ? SUCCESS : INVALID_VALUE; }
static CUresult cuStreamDestroy(Stream *stream) { NEEDS_CONTEXT; free(stream); return SUCCESS; }
static CUresult cuStreamSynchronize(Stream *stream) { NEEDS_CONTEXT; return stream->capturing ? INVALID_VALUE : SUCCESS; }
static CUresult cuStreamBeginCapture(Stream *stream, int mode) {
    NEEDS_CONTEXT;
    stream->capturing = 1;
    stream->count = 0;
    return mode == 1 ? SUCCESS : INVALID_VALUE; /* of this thread */
}
static CUresult duplicate(Stream **result, const Stream *stream) {
    *result = malloc(sizeof(Stream));
    memcpy(*result, stream, sizeof(Stream));
    (*result)->capturing = 0;
    return SUCCESS;
}
static CUresult cuStreamEndCapture(Stream *stream, Stream **graph) { stream->capturing = 0; return duplicate(graph, stream); }
static CUresult cuGraphInstantiate(Stream **result, Stream *graph, unsigned long long flags) { return flags ? INVALID_VALUE : duplicate(result, graph); }
static CUresult cuGraphLaunch(Stream *graph, Stream *stream) {
    for (int i = 0; i < graph->count; i++) copy(graph->copies[i].target, graph->copies[i].source, graph->copies[i].size, stream);
    return SUCCESS;
}
static CUresult cuGraphDestroy(Stream *graph) { free(graph); return SUCCESS; }

static const struct { const char *name; void *function; } TABLE[] = {
#define ENTRY(name) {#name, (void *)name}
    ENTRY(cuInit), ENTRY(cuDriverGetVersion), ENTRY(cuDeviceGetCount), ENTRY(cuDeviceGet), ENTRY(cuDeviceGetName),
    ENTRY(cuDeviceTotalMem), ENTRY(cuDeviceGetAttribute), ENTRY(cuDevicePrimaryCtxRetain), ENTRY(cuCtxSetCurrent),
    ENTRY(cuGetErrorString), ENTRY(cuMemAlloc), ENTRY(cuMemFree), ENTRY(cuMemAllocHost), ENTRY(cuMemFreeHost),
    ENTRY(cuMemcpyHtoDAsync), ENTRY(cuMemcpyDtoHAsync), ENTRY(cuMemcpyDtoDAsync), ENTRY(cuMemcpyDtoH),
    ENTRY(cuPointerGetAttribute), ENTRY(cuPointerGetAttributes),
    ENTRY(cuStreamCreate), ENTRY(cuStreamDestroy), ENTRY(cuStreamSynchronize), ENTRY(cuStreamBeginCapture),
    ENTRY(cuStreamEndCapture), {"cuGraphInstantiateWithFlags", (void *)cuGraphInstantiate}, ENTRY(cuGraphLaunch), ENTRY(cuGraphDestroy),
    {"cuGraphExecDestroy", (void *)cuGraphDestroy},
};

/* How the binding finds everything else. */
CUresult cuGetProcAddress_v2(const char *symbol, void **result, int version, uint64_t flags, void *status) {
    (void)version, (void)flags, (void)status;
    *result = NULL;
    for (size_t i = 0; i < sizeof(TABLE) / sizeof(*TABLE); i++)
        if (!strcmp(TABLE[i].name, symbol)) *result = TABLE[i].function;
    return *result ? SUCCESS : NOT_FOUND;
}

/* For the test. */
long stub_allocations(void) { return allocations; }
