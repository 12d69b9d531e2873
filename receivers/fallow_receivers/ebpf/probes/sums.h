// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What every program shares: the sums, and the two dialects (libbpf's and BCC's) behind one set of names.
//
// A key says who (cgroup, process) and what; the meaning of the three numbers follows from what (sums.py has the
// other half of this table). Nothing is sent for each call: user space reads the sums.
#pragma once

#ifdef FALLOW_BCC
#include <linux/types.h>
#include <linux/ptrace.h>
#else
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
#endif

#define CUDA_LAUNCH 1        // count
#define CUDA_GRAPH 2         // count
#define CUDA_COPY 3          // detail: kind; count, amount: bytes
#define CUDA_ALLOCATE 4      // count, amount: bytes
#define CUDA_FREE 5          // count
#define CUDA_SYNCHRONISE 6   // detail: of what; count, ns
#define CALL_ERROR 7         // detail: code; count
#define NCCL_CALL 8          // detail: collective; count, amount: bytes
#define SCHED 9              // count: migrations, amount: ns blocked, ns: on the run queue
#define BLOCK 10             // detail: direction; count, amount: bytes, ns
#define BLOCK_LATENCY 11     // detail: direction << 8 | log2 of ns; count
#define BLOCK_ERROR 12       // detail: direction; count
#define TCP_IO 13            // detail: 0 sent, 1 received; count, amount: bytes
#define TCP_RETRANSMIT 14    // count
#define MAJOR_FAULT 15       // count
#define COUNTER 16           // detail: slot; amount: the counter's growth

#define MAX_SUMS 16384

struct key {
    u64 cgroup;
    u32 tgid;
    u16 what;
    u16 detail;
};

struct sum {
    u64 count;
    u64 amount;
    u64 ns;
};

#ifdef FALLOW_BCC
BPF_TABLE("hash", struct key, struct sum, sums, MAX_SUMS);
BPF_TABLE("array", u32, u64, lost, 1);
static __always_inline struct sum *sum_of(struct key *key) { return sums.lookup(key); }
static __always_inline void new_sum(struct key *key, struct sum *zero) { sums.insert(key, zero); }
static __always_inline u64 *lost_sums(u32 *zero) { return lost.lookup(zero); }
#define HOOK(name) int on_##name(struct bpf_raw_tracepoint_args *ctx)
#define UPROBE(name) int name(struct pt_regs *ctx)
#define URETPROBE(name) int name(struct pt_regs *ctx)
#define PERF_EVENT(name) int name(struct bpf_perf_event_data *ctx)
#else
#define MAP(type_, name, key_, value_, size) \
    struct { \
        __uint(type, type_); \
        __uint(max_entries, size); \
        __type(key, key_); \
        __type(value, value_); \
    } name SEC(".maps")
MAP(BPF_MAP_TYPE_HASH, sums, struct key, struct sum, MAX_SUMS);
MAP(BPF_MAP_TYPE_ARRAY, lost, u32, u64, 1);
static __always_inline struct sum *sum_of(struct key *key) { return bpf_map_lookup_elem(&sums, key); }
static __always_inline void new_sum(struct key *key, struct sum *zero) { bpf_map_update_elem(&sums, key, zero, BPF_NOEXIST); }
static __always_inline u64 *lost_sums(u32 *zero) { return bpf_map_lookup_elem(&lost, zero); }
#define HOOK(name) SEC("raw_tp/" #name) int on_##name(struct bpf_raw_tracepoint_args *ctx)
#define UPROBE(name) SEC("uprobe") int name(struct pt_regs *ctx)
#define URETPROBE(name) SEC("uretprobe") int name(struct pt_regs *ctx)
#define PERF_EVENT(name) SEC("perf_event") int name(void *ctx)
char LICENSE[] SEC("license") = "Dual BSD/GPL";
#endif

// Each argument of the kernel's and of a struct of the kernel's, which may fault, read into a value.
#define READ(place) \
    ({ \
        __typeof__(place) _value = 0; \
        bpf_probe_read_kernel(&_value, sizeof(_value), &(place)); \
        _value; \
    })

static __always_inline void add(u64 cgroup, u32 tgid, u16 what, u16 detail, u64 count, u64 amount, u64 ns)
{
    struct key key = {.cgroup = cgroup, .tgid = tgid, .what = what, .detail = detail};
    struct sum *sum = sum_of(&key);
    if (!sum) {
        struct sum zero = {};
        new_sum(&key, &zero);
        sum = sum_of(&key);
        if (!sum) {
            u32 first = 0;
            u64 *missed = lost_sums(&first);
            if (missed)
                __sync_fetch_and_add(missed, 1);
            return;
        }
    }
    if (count)
        __sync_fetch_and_add(&sum->count, count);
    if (amount)
        __sync_fetch_and_add(&sum->amount, amount);
    if (ns)
        __sync_fetch_and_add(&sum->ns, ns);
}

static __always_inline u32 current_tgid(void) { return bpf_get_current_pid_tgid() >> 32; }
