"""`python -m trainer` runs the trainer until SIGTERM or SIGINT."""

from servicekit.process.service import end_process, run_service
from trainer.app import trainer
from trainer.config import TrainerSettings


def main() -> int:
    """Run the trainer and return the exit status of the process."""
    return run_service("trainer", TrainerSettings, trainer)


if __name__ == "__main__":
    end_process(main())
