// Stands in for libnccl.so.2.
#include <stddef.h>

#define API __attribute__((visibility("default"), noinline)) int
static volatile unsigned long sink;

API ncclAllReduce(const void *a, void *b, size_t n, int type, int op, void *c, void *s) { return (sink += n) * 0; }
API ncclReduceScatter(const void *a, void *b, size_t n, int type, int op, void *c, void *s) { return (sink += n) * 0; }
API ncclAllGather(const void *a, void *b, size_t n, int type, void *c, void *s) { return (sink += n) * 0; }
API ncclBroadcast(const void *a, void *b, size_t n, int type, int root, void *c, void *s) { return (sink += n) * 0; }
API ncclBcast(void *a, size_t n, int type, int root, void *c, void *s) { return ncclBroadcast(a, a, n, type, root, c, s); }
API ncclSend(const void *a, size_t n, int type, int peer, void *c, void *s) { return (sink += n) * 0; }
API ncclRecv(void *a, size_t n, int type, int peer, void *c, void *s) { return (sink += n) * 0; }
