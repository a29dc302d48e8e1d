"""Runs a program that ends when its supervisor ends, for whatever reason.

The command of `tethered` executes this file as a script, in the new process and before the program itself:

    tether.py PARENT DEATH_SIGNAL UID GID DIRECTORY PROGRAM [ARGUMENT ...]

It enters DIRECTORY, becomes user UID and group GID (-1: no change), asks the kernel to send DEATH_SIGNAL when PARENT
dies, and becomes PROGRAM. The order matters: the user may not be able to enter a directory that it can work in, and a
change of user clears the signal. Only the standard library is imported, so this takes 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tethered(program: list[str], death_signal: int, *, directory: str = ".", uid: int = -1, gid: int = -1) -> list[str]:
    """Return the command that runs a program tethered to this process. It must be started on the main thread.

    program: its path and arguments. uid, gid: the user and group to become (-1: no change).
    """
    numbers = (os.getpid(), int(death_signal), uid, gid)
    return [sys.executable, "-I", "-S", __file__, *map(str, numbers), directory, *program]


def main(arguments: list[str]) -> None:
    """Become the program. Raises OSError when that is not possible."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    directory, program = arguments[4], arguments[5:]
    # SIGINT must end the script like any other signal, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(directory)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # The supervisor died before the kernel knew about the signal.
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell on purpose


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[6]}: {error}")
