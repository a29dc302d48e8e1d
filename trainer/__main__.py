"""`python -m trainer` runs the trainer until SIGTERM or SIGINT. `python -m trainer check` tries what it needs."""

import sys

from servicekit.check.command import run_check
from servicekit.process.service import end_process, run_service
from servicekit.settings import quiet_grpc
from trainer.config import TrainerSettings


def main() -> int:
    """Run the trainer and return the exit status of the process."""
    # Before gRPC is imported.
    quiet_grpc()
    if sys.argv[1:2] == ["check"]:
        from trainer.check import checks

        return run_check("trainer", TrainerSettings, checks, sys.argv[2:])
    # The check also runs where the packages for learning are not installed.
    from trainer.app import trainer

    return run_service("trainer", TrainerSettings, trainer)


if __name__ == "__main__":
    end_process(main())
