// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Requests to block devices: bytes, errors and a histogram of the time from issue to completion, for who issued them.
#include "sums.h"
#include "cgroup.h"

#define OPERATION 0xff  // in cmd_flags; 0 reads, 1 writes, the rest (flush, discard) carries no data

struct issued {
    u64 time;
    u64 cgroup;
    u32 tgid;
    u32 left;
};

#ifdef FALLOW_BCC
BPF_TABLE("lru_hash", u64, struct issued, requests, MAX_SUMS);
static __always_inline void put_issued(u64 *request, struct issued *issued) { requests.update(request, issued); }
static __always_inline struct issued *issued_of(u64 *request) { return requests.lookup(request); }
static __always_inline void drop_issued(u64 *request) { requests.delete(request); }
#else
MAP(BPF_MAP_TYPE_LRU_HASH, requests, u64, struct issued, MAX_SUMS);
static __always_inline void put_issued(u64 *request, struct issued *issued) { bpf_map_update_elem(&requests, request, issued, BPF_ANY); }
static __always_inline struct issued *issued_of(u64 *request) { return bpf_map_lookup_elem(&requests, request); }
static __always_inline void drop_issued(u64 *request) { bpf_map_delete_elem(&requests, request); }
#endif

static __always_inline u32 log2_of(u64 value)
{
    u32 result = 0;
#pragma unroll
    for (int shift = 32; shift; shift >>= 1) {
        if (value >> shift) {
            value >>= shift;
            result += shift;
        }
    }
    return result;
}

static __always_inline int issue(struct request *request)
{
    u64 id = (u64)request;
    if ((READ(request->cmd_flags) & OPERATION) > 1)
        return 0;
    struct issued issued = {
        .time = bpf_ktime_get_ns(),
        .cgroup = current_cgroup(),
        .tgid = current_tgid(),
        .left = READ(request->__data_len),
    };
    put_issued(&id, &issued);
    return 0;
}

HOOK(block_rq_issue) { return issue((struct request *)ctx->args[0]); }

// Before Linux 5.11 the queue came first.
#ifdef FALLOW_BCC
int on_block_rq_issue_with_queue(struct bpf_raw_tracepoint_args *ctx)
#else
SEC("raw_tp/block_rq_issue") int on_block_rq_issue_with_queue(struct bpf_raw_tracepoint_args *ctx)
#endif
{ return issue((struct request *)ctx->args[1]); }

HOOK(block_rq_complete)
{
    struct request *request = (struct request *)ctx->args[0];
    u64 id = (u64)request;
    u32 bytes = ctx->args[2];
    struct issued *known = issued_of(&id);
    if (!known)
        return 0;
    struct issued issued = *known;
    u32 direction = READ(request->cmd_flags) & OPERATION;
    if ((int)ctx->args[1]) {
        add(issued.cgroup, issued.tgid, BLOCK_ERROR, direction, 1, 0, 0);
        drop_issued(&id);
        return 0;
    }
    if (bytes < issued.left) {  // a part of it
        known->left -= bytes;
        add(issued.cgroup, issued.tgid, BLOCK, direction, 0, bytes, 0);
        return 0;
    }
    u64 ns = bpf_ktime_get_ns() - issued.time;
    add(issued.cgroup, issued.tgid, BLOCK, direction, 1, bytes, ns);
    add(issued.cgroup, issued.tgid, BLOCK_LATENCY, direction << 8 | log2_of(ns), 1, 0, 0);
    drop_issued(&id);
    return 0;
}
