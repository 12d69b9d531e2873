// Stands in for libcuda.so.1: names, arguments and first instructions are like the driver's, nothing is behind them.
#include <stddef.h>
#include <time.h>

#define API __attribute__((visibility("default"), noinline))
// The driver's exports compare its state first: the instruction that must not be probed.
#ifdef __x86_64__
#define ENTRY(name)                                                                                         \
    asm(".pushsection .text\n.globl " #name "\n.type " #name ",@function\n" #name ":\n"                     \
        "cmpl $0x321cba00, fake_state(%rip)\nje 1f\n1: jmp behind_" #name "\n.size " #name ",.-" #name "\n" \
        ".popsection");                                                                                     \
    __attribute__((visibility("hidden"), used)) int behind_##name
#else
#define ENTRY(name) API int name
#endif

__attribute__((visibility("hidden"))) int fake_state;
static volatile unsigned long sink;
static long wait_ns;

API void fake_wait(long ns) { wait_ns = ns; }
static int waited(void)
{
    struct timespec time = {wait_ns / 1000000000L, wait_ns % 1000000000L};
    nanosleep(&time, 0);
    return 0;
}

ENTRY(cuLaunchKernel)(void *f) { return sink++ * 0; }
ENTRY(cuLaunchKernel_ptsz)(void *f) { return sink++ * 0; }
ENTRY(cuLaunchKernelEx)(void *f) { return sink++ * 0; }
ENTRY(cuGraphLaunch)(void *g) { return sink++ * 0; }
ENTRY(cuMemcpyHtoDAsync_v2)(unsigned long long d, void *s, size_t n) { return (sink += n) * 0; }
ENTRY(cuMemcpyDtoH_v2_ptds)(void *d, unsigned long long s, size_t n) { return (sink += n) * 0; }
ENTRY(cuMemcpyDtoDAsync_v2)(unsigned long long d, unsigned long long s, size_t n) { return (sink += n) * 0; }
ENTRY(cuMemcpyPeerAsync)(unsigned long long d, void *c, unsigned long long s, void *e, size_t n) { return (sink += n) * 0; }
ENTRY(cuStreamSynchronize)(void *s) { return waited(); }
ENTRY(cuCtxSynchronize)(void) { return waited(); }
ENTRY(cuMemAlloc_v2)(unsigned long long *p, size_t n) { return n > (1UL << 36) ? 2 : (int)((sink += n) * 0); }
ENTRY(cuMemFree_v2)(unsigned long long p) { return sink++ * 0; }
