"""Numbers of the system calls that a confined worker is refused, per architecture.

From the kernel's arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h (arm64)
and arch/arm/tools/syscall.tbl; tests/unit/agent/test_seccomp.py compares them with libseccomp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_ARCHITECTURES = ("x86_64", "aarch64", "arm")

_NUMBERS: dict[str, tuple[int | None, int | None, int | None]] = {
    # Sockets of any family; socketpair(2), which reaches nobody else, stays.
    "socket": (41, 198, 281),
    # Processes. clone(2) makes threads, too: see _seccomp.py.
    "fork": (57, None, 2),
    "vfork": (58, None, 190),
    "clone": (56, 220, 120),
    "clone3": (435, 435, 435),
    "execve": (59, 221, 11),
    "execveat": (322, 281, 387),
    # Other processes: looking into them, signalling them, changing their limits.
    "ptrace": (101, 117, 26),
    "process_vm_readv": (310, 270, 376),
    "process_vm_writev": (311, 271, 377),
    "process_madvise": (440, 440, 440),
    "process_mrelease": (448, 448, 448),
    "kcmp": (312, 272, 378),
    "kill": (62, 129, 37),
    "tkill": (200, 130, 238),
    "tgkill": (234, 131, 268),
    "rt_sigqueueinfo": (129, 138, 178),
    "rt_tgsigqueueinfo": (297, 240, 363),
    "pidfd_open": (434, 434, 434),
    "pidfd_getfd": (438, 438, 438),
    "pidfd_send_signal": (424, 424, 424),
    "prlimit64": (302, 261, 369),
    "migrate_pages": (256, 238, 400),
    "move_pages": (279, 239, 344),
    # What other processes, and the workers that the agent starts later, would be slowed by.
    "setpriority": (141, 140, 97),
    "ioprio_set": (251, 30, 314),
    "sched_setaffinity": (203, 122, 241),
    "sched_setattr": (314, 274, 380),
    "sched_setparam": (142, 118, 154),
    "sched_setscheduler": (144, 119, 156),
    # What a worker would outlive its agent by; everything else of it stays.
    "prctl": (157, 167, 172),
    # Memory and queues that other processes share by name.
    "mq_open": (240, 180, 274),
    "msgget": (68, 186, 303),
    "semget": (64, 190, 299),
    "shmget": (29, 194, 307),
    # Mounts, namespaces, and ways to files past their paths.
    "mount": (165, 40, 21),
    "umount2": (166, 39, 52),
    "pivot_root": (155, 41, 218),
    "chroot": (161, 51, 61),
    "move_mount": (429, 429, 429),
    "open_tree": (428, 428, 428),
    "open_tree_attr": (467, 467, 467),
    "fsopen": (430, 430, 430),
    "fsconfig": (431, 431, 431),
    "fsmount": (432, 432, 432),
    "fspick": (433, 433, 433),
    "mount_setattr": (442, 442, 442),
    "unshare": (272, 97, 337),
    "setns": (308, 268, 375),
    "name_to_handle_at": (303, 264, 370),
    "open_by_handle_at": (304, 265, 371),
    "fanotify_init": (300, 262, 367),
    "quotactl": (179, 60, 131),
    "quotactl_fd": (443, 443, 443),
    "lookup_dcookie": (212, 18, 249),
    # Large parts of the kernel that no runtime needs, and where its holes have been.
    "bpf": (321, 280, 386),
    "io_uring_setup": (425, 425, 425),
    "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    "keyctl": (250, 219, 311),
    "add_key": (248, 217, 309),
    "request_key": (249, 218, 310),
    "perf_event_open": (298, 241, 364),
    "userfaultfd": (323, 282, 388),
    "modify_ldt": (154, None, None),
    "vserver": (236, None, 313),
    "uselib": (134, None, 86),
    "nfsservctl": (180, 42, 169),
    # The machine itself.
    "kexec_load": (246, 104, 347),
    "kexec_file_load": (320, 294, 401),
    "create_module": (174, None, None),
    "init_module": (175, 105, 128),
    "finit_module": (313, 273, 379),
    "delete_module": (176, 106, 129),
    "reboot": (169, 142, 88),
    "swapon": (167, 224, 87),
    "swapoff": (168, 225, 115),
    "acct": (163, 89, 51),
    "settimeofday": (164, 170, 79),
    "clock_settime": (227, 112, 262),
    "clock_settime64": (None, None, 404),
    "clock_adjtime": (305, 266, 372),
    "clock_adjtime64": (None, None, 405),
    "adjtimex": (159, 171, 124),
    "sethostname": (170, 161, 74),
    "setdomainname": (171, 162, 121),
    "iopl": (172, None, None),
    "ioperm": (173, None, None),
    "syslog": (103, 116, 103),
    "vhangup": (153, 58, 111),
}


@dataclass(frozen=True)
class Architecture:
    """What a filter must know of an architecture's system calls."""

    name: str
    # AUDIT_ARCH_* of include/uapi/linux/audit.h.
    audit: int
    # seccomp(2) itself.
    seccomp: int
    # Numbers by name; what the architecture does not have is left out.
    numbers: Mapping[str, int]


def _architecture(name: str, audit: int, seccomp: int) -> Architecture:
    column = _ARCHITECTURES.index(name)
    numbers = {call: row[column] for call, row in _NUMBERS.items()}
    return Architecture(name, audit, seccomp, {c: n for c, n in numbers.items() if n is not None})


ARCHITECTURES = {
    "x86_64": _architecture("x86_64", 0xC000003E, 317),
    "aarch64": _architecture("aarch64", 0xC00000B7, 277),
    # 32-bit, EABI: also what a 32-bit Python on a 64-bit kernel is.
    "arm": _architecture("arm", 0x40000028, 383),
}
