// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Calls of CUDA and NCCL: three programs serve any number of functions; what a function is stands in the cookie of
// its attachment. No kernel type is used but the registers at a system call boundary, which are ABI: no BTF is needed.
#include "sums.h"

#ifndef FALLOW_BCC
#if defined(__TARGET_ARCH_arm64)
struct pt_regs {
    u64 regs[31];
    u64 sp, pc, pstate;
};
#else
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#endif
#endif

#if defined(__TARGET_ARCH_arm64)
#define ARGUMENT(n) ctx->regs[n - 1]
#define RESULT ctx->regs[0]
#else
#define ARGUMENT_1 ctx->di
#define ARGUMENT_2 ctx->si
#define ARGUMENT_3 ctx->dx
#define ARGUMENT_4 ctx->cx
#define ARGUMENT_5 ctx->r8
#define ARGUMENT(n) ARGUMENT_##n
#define RESULT ctx->ax
#endif

// Cookie: bits 0-15 what, 16-31 detail, 32-35 argument with the size (0: none), 36-39 argument with NCCL's data type.
#define WHAT(cookie) ((cookie) & 0xffff)
#define DETAIL(cookie) ((cookie) >> 16 & 0xffff)

struct begun {
    u64 time;
    u64 amount;
};

#ifdef FALLOW_BCC
BPF_TABLE("lru_hash", u64, struct begun, waiting, MAX_SUMS);
static __always_inline void put_begun(u64 *call, struct begun *begun) { waiting.update(call, begun); }
static __always_inline struct begun *begun_of(u64 *call) { return waiting.lookup(call); }
static __always_inline void drop_begun(u64 *call) { waiting.delete(call); }
#else
MAP(BPF_MAP_TYPE_LRU_HASH, waiting, u64, struct begun, MAX_SUMS);
static __always_inline void put_begun(u64 *call, struct begun *begun) { bpf_map_update_elem(&waiting, call, begun, BPF_ANY); }
static __always_inline struct begun *begun_of(u64 *call) { return bpf_map_lookup_elem(&waiting, call); }
static __always_inline void drop_begun(u64 *call) { bpf_map_delete_elem(&waiting, call); }
#endif

// Registers go into variables first: to choose among fields of the context, clang would compute an address into it,
// which the verifier refuses.
#define KEEP(value) asm volatile("" : "+r"(value))

static __always_inline u64 choose(u32 n, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    return n == 1 ? a : n == 2 ? b : n == 3 ? c : n == 4 ? d : n == 5 ? e : 0;
}

// ncclDataType_t of nccl.h: int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 and two of 8 bits.
static __always_inline u64 type_size(u64 type)
{
    return type < 2 ? 1 : type < 4 ? 4 : type < 6 ? 8 : type == 6 ? 2 : type == 7 ? 4 : type == 8 ? 8 : type == 9 ? 2 : type < 12 ? 1 : 0;
}

static __always_inline u64 amount_of(struct pt_regs *ctx, u64 cookie)
{
    u64 a = ARGUMENT(1), b = ARGUMENT(2), c = ARGUMENT(3), d = ARGUMENT(4), e = ARGUMENT(5);
    KEEP(a);
    KEEP(b);
    KEEP(c);
    KEEP(d);
    KEEP(e);
    u64 size = choose(cookie >> 32 & 15, a, b, c, d, e);
    u32 type = cookie >> 36 & 15;
    // An enum is an int: the upper half of its register may hold anything.
    return type ? size * type_size((u32)choose(type, a, b, c, d, e)) : size;
}

static __always_inline u64 call_of(u64 cookie) { return (u32)bpf_get_current_pid_tgid() | cookie << 32; }

UPROBE(count_call)
{
    u64 cookie = bpf_get_attach_cookie(ctx);
    add(bpf_get_current_cgroup_id(), current_tgid(), WHAT(cookie), DETAIL(cookie), 1, amount_of(ctx, cookie), 0);
    return 0;
}

UPROBE(enter_call)
{
    u64 cookie = bpf_get_attach_cookie(ctx), call = call_of(cookie);
    struct begun begun = {.time = bpf_ktime_get_ns(), .amount = amount_of(ctx, cookie)};
    put_begun(&call, &begun);
    return 0;
}

URETPROBE(leave_call)
{
    u64 cookie = bpf_get_attach_cookie(ctx), call = call_of(cookie);
    u32 code = RESULT;
    struct begun *begun = begun_of(&call);
    if (!begun)  // it was entered before we came
        return 0;
    u64 ns = bpf_ktime_get_ns() - begun->time, amount = begun->amount, cgroup = bpf_get_current_cgroup_id();
    drop_begun(&call);
    if (code)
        add(cgroup, current_tgid(), CALL_ERROR, code < 0xffff ? code : 0xffff, 1, 0, 0);
    if (!code || WHAT(cookie) == CUDA_SYNCHRONISE)  // an allocation that failed is none; a wait was waited
        add(cgroup, current_tgid(), WHAT(cookie), DETAIL(cookie), 1, amount, ns);
    return 0;
}
