// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Which cgroup: the inode number of the directory, in the v2 hierarchy; where that is its root (hybrid and v1 nodes),
// in the v1 memory hierarchy, marked as such since the two number their directories apart.
#pragma once

#include "kernel.h"

#define V2_ROOT 1
#define V1 (1ULL << 63)

#ifdef FALLOW_BCC
#define MEMORY_CGROUP MEMORY_CGRP_ID
#else
#define MEMORY_CGROUP bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)
#include <bpf/bpf_core_read.h>
#endif

static __always_inline u64 cgroup_id(struct cgroup *cgroup)
{
    struct kernfs_node *node = READ(cgroup->kn);
    return READ(node->id);
}

static __always_inline u64 v1_memory_cgroup(struct task_struct *task)
{
    struct css_set *set = READ(task->cgroups);
    struct cgroup_subsys_state *state = 0;
    bpf_probe_read_kernel(&state, sizeof(state), &set->subsys[MEMORY_CGROUP]);
    u64 id = cgroup_id(READ(state->cgroup));
    return id > V2_ROOT ? id | V1 : V2_ROOT;
}

static __always_inline u64 cgroup_of(struct task_struct *task)
{
    struct css_set *set = READ(task->cgroups);
    u64 id = cgroup_id(READ(set->dfl_cgrp));
    return id > V2_ROOT ? id : v1_memory_cgroup(task);
}

static __always_inline u64 current_cgroup(void)
{
    u64 id = bpf_get_current_cgroup_id();
    return id > V2_ROOT ? id : v1_memory_cgroup((struct task_struct *)bpf_get_current_task());
}
