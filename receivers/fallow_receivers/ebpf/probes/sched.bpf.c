// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Run-queue delay, time blocked, migrations: what the scheduler keeps for each thread, read as the thread leaves its
// CPU. One hook and no wake-ups: the kernel has measured the delay already.
#include "sums.h"
#include "cgroup.h"

struct thread {
    u64 left;        // monotonic ns at which it last left a CPU
    u64 run_delay;
    u64 runtime;
    u64 migrations;
    u64 slept;       // how often it left to wait for something, not because another had its turn
    u64 blocked;     // whether it did the last time
};

#ifdef FALLOW_BCC
BPF_TABLE("lru_hash", u32, struct thread, threads, 65536);
static __always_inline struct thread *thread_of(u32 *tid, struct task_struct *task) { return threads.lookup(tid); }
static __always_inline void new_thread(u32 *tid, struct thread *thread) { threads.update(tid, thread); }
#define NOW_RUNNING ((struct task_struct *)bpf_get_current_task())
#define OWN(place) READ(place)
#else
struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct thread);
} threads SEC(".maps");
static __always_inline struct thread *thread_of(u32 *tid, struct task_struct *task)
{
    return bpf_task_storage_get(&threads, task, 0, 0);
}
#define NOW_RUNNING bpf_get_current_task_btf()
#define OWN(place) (place)
#endif

// At this hook the current task is still the one that leaves.
HOOK(sched_switch)
{
    struct task_struct *task = NOW_RUNNING;
    u32 tid = OWN(task->pid);
    if (!tid)
        return 0;
    u64 now = bpf_ktime_get_ns();
    struct thread is = {
        .left = now,
        .run_delay = OWN(task->sched_info.run_delay),
        .runtime = OWN(task->se.sum_exec_runtime),
        .migrations = OWN(task->se.nr_migrations),
        .slept = OWN(task->nvcsw),
    };
    struct thread was = {};
    struct thread *known = thread_of(&tid, task);
    if (known) {
        was = *known;
    } else if (is.slept + OWN(task->nivcsw) == 1) {
        was.left = OWN(task->start_time);  // it leaves for the first time: all of it happened while we watched
    } else {
        was = is;
    }
    is.blocked = is.slept != was.slept;
#ifdef FALLOW_BCC
    new_thread(&tid, &is);
    if (is.run_delay < was.run_delay || is.runtime < was.runtime || is.migrations < was.migrations)
        return 0;  // another thread under a number that was used before
#else
    if (!known)
        known = bpf_task_storage_get(&threads, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (known)
        *known = is;
#endif
    u64 delay = is.run_delay - was.run_delay, away = is.left - was.left, busy = is.runtime - was.runtime + delay;
    u64 blocked = was.blocked && away > busy ? away - busy : 0;
    add(current_cgroup(), OWN(task->tgid), SCHED, 0, is.migrations - was.migrations, blocked, delay);
    return 0;
}
