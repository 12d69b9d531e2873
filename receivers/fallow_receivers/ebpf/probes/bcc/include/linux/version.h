// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Before BCC takes it from here it only compares it.
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
