// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// BCC's headers ask for this one and use nothing of it.
