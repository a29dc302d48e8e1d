"""Run a target with atheris: `python -m tests.fuzz TARGET RUNS [CORPUS]`. CORPUS: a folder for new inputs."""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Fuzz until the runs are done, or end at the first defect."""
    name, runs, *corpus = sys.argv[1:]
    # Not installed with the project: `pip install atheris` into an environment of its own.
    fuzzer: Any = import_module("atheris")
    warnings.simplefilter("ignore")
    with fuzzer.instrument_imports(include=["embedder.decoding", "gateway.content", "gateway.http"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    folders = [*corpus, str(SEEDS / name)]
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    fuzzer.Setup([sys.argv[0], f"-runs={runs}", "-max_len=4096", "-timeout=5", *folders], TARGETS[name])
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
