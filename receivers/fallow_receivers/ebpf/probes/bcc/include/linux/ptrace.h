// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Registers as they are saved when user space is left: part of the ABI.
#pragma once

#ifdef __TARGET_ARCH_arm64
struct pt_regs {
    unsigned long long regs[31];
    unsigned long long sp, pc, pstate;
};
#else
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#endif
