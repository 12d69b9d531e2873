// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// TCP: bytes that processes sent and received, segments that were sent again.
#include "sums.h"
#include "cgroup.h"

#define TCP 6
#define PEEK 2  // MSG_PEEK: the bytes stay

static __always_inline int io(struct sock *sock, int bytes, u32 received)
{
    if (bytes > 0 && READ(sock->sk_protocol) == TCP)
        add(current_cgroup(), current_tgid(), TCP_IO, received, 1, bytes, 0);
    return 0;
}

HOOK(sock_send_length) { return io((struct sock *)ctx->args[0], ctx->args[1], 0); }

HOOK(sock_recv_length)
{
    return ctx->args[2] & PEEK ? 0 : io((struct sock *)ctx->args[0], ctx->args[1], 1);
}

// It happens on a timer: the socket knows its cgroup, and nothing knows the process.
HOOK(tcp_retransmit_skb)
{
    struct sock *sock = (struct sock *)ctx->args[0];
    u64 cgroup = 0;
#ifndef FALLOW_BCC
    if (bpf_core_field_exists(sock->sk_cgrp_data.cgroup))
#endif
        cgroup = cgroup_id(READ(sock->sk_cgrp_data.cgroup));
    add(cgroup, 0, TCP_RETRANSMIT, 0, 1, 0, 0);
    return 0;
}
