"""Runs a command as systemd would run a service: as its user, with its limits and with what it takes away.

`python confine.py JSON COMMAND…`: the JSON is a `Confinement`. systemd itself has to be the first process of a machine.
This does what its settings mean (systemd.exec(5)).
"""

import ctypes
import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MS_RELATIME, MS_MOVE = 1 << 21, 8192
KEPT = {"nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC, "relatime": MS_RELATIME}
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_EQ = 0x7FFF0000, 0x00050000, 4
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
HOMES, TEMPORARY = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")


@dataclass(frozen=True)
class Confinement:
    """What a service may do.

    user: its number; None keeps this one. mounts: whether to change what it sees of the file system. writable: the only
    folders that it may write to, besides its own /tmp. visible: folders that it may read, even in /tmp or in a home
    directory. system_calls: the only ones allowed. families: the only kinds of sockets, by number.
    """

    user: int | None
    mounts: bool
    writable: Sequence[str]
    visible: Sequence[str]
    open_files: int
    umask: int
    system_calls: Sequence[str]
    families: Sequence[int]

    def command(self) -> list[str]:
        """Return what to put in front of a command."""
        return [sys.executable, "-P", __file__, json.dumps(asdict(self))]


class Argument(ctypes.Structure):
    """A condition on an argument of a system call (`scmp_arg_cmp`)."""

    _fields_ = (
        ("number", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


libc = ctypes.CDLL(None, use_errno=True)


def confine(confinement: Confinement) -> None:
    """Confine this process permanently. Raises OSError if that fails."""
    if confinement.mounts:
        change_file_system(confinement)
    # Raising the hard limit is systemd's privilege; a lower one is enough for a test.
    hard = min(confinement.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(confinement.umask)
    if os.geteuid() == 0:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
        for capability in range(last + 1):
            _check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    if confinement.user is not None:
        os.setgroups([])
        os.setresgid(confinement.user, confinement.user, confinement.user)
        os.setresuid(confinement.user, confinement.user, confinement.user)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    restrict_system_calls(confinement)


def change_file_system(confinement: Confinement) -> None:
    """ProtectSystem=strict, ReadWritePaths, PrivateTmp, ProtectHome, PrivateDevices, ProtectProc, and the like."""
    _check(libc.unshare(CLONE_NEWNS))
    _mount(None, "/", MS_REC | MS_PRIVATE)
    kept = {path: os.open(path, os.O_PATH) for path in (*confinement.visible, *confinement.writable)}
    for path in filter(os.path.isdir, (*HOMES, *TEMPORARY)):
        mode = "mode=1777" if path in TEMPORARY else "mode=755"
        _mount("tmpfs", path, MS_NOSUID | MS_NODEV, kind="tmpfs", data=mode)
    for path, descriptor in kept.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", path, MS_BIND | MS_REC)
        os.close(descriptor)
    _private_devices()
    _mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, kind="proc", data="hidepid=2")
    _mount("/proc/sys", "/proc/sys", MS_BIND)
    left = (*confinement.writable, *TEMPORARY, "/dev", "/proc")
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point, options = line.split(" ")[4:6]
        point = point.encode().decode("unicode_escape")
        if any(point == one or point.startswith(f"{one}/") for one in left) and not point.startswith("/proc/sys"):
            continue
        flags = sum(KEPT.get(option, 0) for option in options.split(","))
        _mount(None, point, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _private_devices() -> None:
    stage = Path(tempfile.mkdtemp())
    _mount("tmpfs", str(stage), MS_NOSUID | MS_NOEXEC, kind="tmpfs", data="mode=755")
    for name in DEVICES:
        (stage / name).touch()
        _mount(f"/dev/{name}", str(stage / name), MS_BIND)
    for name in ("shm", "pts"):
        (stage / name).mkdir()
        _mount(f"/dev/{name}", str(stage / name), MS_BIND | MS_REC)
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd")):
        (stage / name).symlink_to(target)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (stage / name).symlink_to(f"/proc/self/fd/{number}")
    _mount(str(stage), "/dev", MS_MOVE)


def restrict_system_calls(confinement: Confinement) -> None:
    """SystemCallFilter, SystemCallErrorNumber=EPERM and RestrictAddressFamilies."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(SCMP_ACT_ERRNO | errno.EPERM)))
    for name in confinement.system_calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        # A negative number is a system call that this kind of processor does not have.
        if number >= 0 and name != "socket":
            _check(-abs(seccomp.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, number, 0, None)))
    socket = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in confinement.families:
        equal = Argument(0, SCMP_CMP_EQ, family, 0)
        _check(-abs(seccomp.seccomp_rule_add_array(context, SCMP_ACT_ALLOW, socket, 1, ctypes.byref(equal))))
    _check(-abs(seccomp.seccomp_load(context)))
    seccomp.seccomp_release(context)


def _mount(source: str | None, target: str, flags: int, *, kind: str | None = None, data: str | None = None) -> None:
    source_text, target_text, kind_text, data_text = (text and text.encode() for text in (source, target, kind, data))
    if libc.mount(source_text, target_text, kind_text, ctypes.c_ulong(flags), data_text) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _check(status: int) -> None:
    if status < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_mount() -> bool:
    """Return whether this user may change what a process sees of the file system. Root in a container may not."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Confine this process and become the command."""
    confine(Confinement(**json.loads(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
