// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Counters of each CPU, read whenever a thread leaves it: what they grew by is that thread's. The number of open
// counters depends on the CPUs alone, however many cgroups and processes there are.
#include "sums.h"
#include "cgroup.h"

#define SLOTS 4
#define MAX_CPUS 1024

struct reading {
    u64 counter;
    u64 enabled;
    u64 running;
};

struct readings {
    struct reading of[SLOTS];
};

#ifdef FALLOW_BCC
BPF_PERF_ARRAY(counters, SLOTS * MAX_CPUS);
BPF_TABLE("percpu_array", u32, struct readings, before, 1);
static __always_inline int read_counter(u64 index, struct reading *now)
{
    return counters.perf_counter_value(index, now, sizeof(*now));
}
static __always_inline struct readings *readings_before(u32 *zero) { return before.lookup(zero); }
#else
MAP(BPF_MAP_TYPE_PERF_EVENT_ARRAY, counters, u32, u32, SLOTS * MAX_CPUS);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, before, u32, struct readings, 1);
static __always_inline int read_counter(u64 index, struct reading *now)
{
    return bpf_perf_event_read_value(&counters, index, (void *)now, sizeof(*now));
}
static __always_inline struct readings *readings_before(u32 *zero) { return bpf_map_lookup_elem(&before, zero); }
#endif

HOOK(sched_switch)
{
    u64 id = bpf_get_current_pid_tgid(), cgroup = 0;
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct readings *all = readings_before(&zero);
    if (!all || cpu >= MAX_CPUS)
        return 0;
    if ((u32)id)
        cgroup = current_cgroup();
#pragma unroll
    for (u32 slot = 0; slot < SLOTS; slot++) {
        struct reading now = {}, was = all->of[slot];
        if (read_counter(slot * MAX_CPUS + cpu, &now))
            continue;
        all->of[slot] = now;
        u64 grown = now.counter - was.counter, enabled = now.enabled - was.enabled, running = now.running - was.running;
        if (!(u32)id || !was.enabled || !running)
            continue;  // idle, the first reading, or a counter that had no turn
        if (running < enabled)  // it shares the hardware with others: scaled up to all of the time
            grown = grown * (enabled >> 8) / ((running >> 8) + 1);
        add(cgroup, id >> 32, COUNTER, slot, 1, grown, 0);
    }
    return 0;
}
