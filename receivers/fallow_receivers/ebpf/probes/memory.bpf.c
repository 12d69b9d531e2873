// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Major page faults as a software event of perf, which costs nothing where there are none; OOM kills as a queue.
#include "sums.h"
#include "cgroup.h"

#define LARGEST_PID (1 << 22)

struct victim {
    u64 time;
    u64 cgroup;
    u32 pid;
    char comm[16];
    u32 unused;
};

#ifdef FALLOW_BCC
BPF_QUEUE(victims, struct victim, 256);
static __always_inline void put_victim(struct victim *victim) { victims.push(victim, BPF_EXIST); }
#else
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 256);
    __type(value, struct victim);
} victims SEC(".maps");
static __always_inline void put_victim(struct victim *victim) { bpf_map_push_elem(&victims, victim, BPF_EXIST); }
#endif

PERF_EVENT(on_major_fault)
{
    add(current_cgroup(), current_tgid(), MAJOR_FAULT, 0, 1, 0, 0);
    return 0;
}

HOOK(mark_victim)
{
    u64 who = ctx->args[0];
    struct victim victim = {.time = bpf_ktime_get_ns()};
    if (who < LARGEST_PID) {  // before Linux 6.9 only the number is told
        victim.pid = who;
    } else {
        struct task_struct *task = (struct task_struct *)who;
        victim.pid = READ(task->tgid);
        victim.cgroup = cgroup_of(task);
        bpf_probe_read_kernel(&victim.comm, sizeof(victim.comm), &task->comm);
    }
    put_victim(&victim);
    return 0;
}
