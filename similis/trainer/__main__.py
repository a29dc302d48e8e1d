"""`python -m similis.trainer`: works until SIGTERM or SIGINT."""

from similis.servicekit.process import end_process, run_service
from similis.trainer.app import trainer
from similis.trainer.config import TrainerSettings


def main() -> int:
    """Runs the trainer and returns the exit status of the process."""
    return run_service("trainer", TrainerSettings, trainer)


if __name__ == "__main__":
    end_process(main())
