"""Runs a program that ends when its supervisor does, however that one ends.

Executed as a script by `child_process`, in the new process and before the program itself:

    tether.py PARENT DEATH_SIGNAL UID GID DIRECTORY PROGRAM [ARGUMENT ...]

It enters DIRECTORY, becomes user UID and group GID (-1: stays who it is), asks the kernel to send DEATH_SIGNAL when
PARENT dies, and becomes PROGRAM. The order matters: a user may be unable to walk to a directory that it may work
in, and a change of user clears the signal. Nothing but the standard library is imported, so this takes 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Becomes the program; raises OSError when that is not possible."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    directory, program = arguments[4], arguments[5:]
    # Until the program is there, being stopped is an end like any other, not a KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.chdir(directory)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # The supervisor died before the kernel knew of the wish.
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - a shell is what must not stand between


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[6]}: {error}")
