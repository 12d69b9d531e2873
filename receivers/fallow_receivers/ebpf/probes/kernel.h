// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The few fields of the kernel's structs that are read. clang marks each access and libbpf moves it to where the field
// is in the running kernel; for BCC the same lines are filled out to the kernel's offsets (see btf.py), so keep to
// one field a line.
#pragma once

#ifdef FALLOW_BCC
#define RELOCATED
#else
#define RELOCATED __attribute__((preserve_access_index))
enum cgroup_subsys_id { memory_cgrp_id = 4 };
#endif

struct kernfs_node {
    u64 id;
} RELOCATED;

struct cgroup {
    struct kernfs_node *kn;
} RELOCATED;

struct cgroup_subsys_state {
    struct cgroup *cgroup;
} RELOCATED;

struct css_set {
    struct cgroup_subsys_state *subsys[16];
    struct cgroup *dfl_cgrp;
} RELOCATED;

struct sched_info {
    unsigned long long run_delay;
} RELOCATED;

struct sched_entity {
    u64 sum_exec_runtime;
    u64 nr_migrations;
} RELOCATED;

struct task_struct {
    int pid;
    int tgid;
    char comm[16];
    unsigned long nvcsw;
    unsigned long nivcsw;
    u64 start_time;
    struct sched_info sched_info;
    struct sched_entity se;
    struct css_set *cgroups;
} RELOCATED;

struct request {
    unsigned int cmd_flags;
    unsigned int __data_len;
} RELOCATED;

struct sock_cgroup_data {
    struct cgroup *cgroup;
} RELOCATED;

struct sock {
    u16 sk_protocol;
    struct sock_cgroup_data sk_cgrp_data;
} RELOCATED;
