#!/bin/sh
# Makes a virtual environment that holds one service and nothing else: `install.sh SERVICE DIRECTORY`, in the
# repository's root. Images are built with it, and `make docker-check` runs it where there is no container engine.
#
# TORCH_INDEX: a package index to take torch from, as its builds for processors alone are not on every index; empty:
# the same index as for everything else. TORCH_VARIANT: cpu or cuda, what that torch must be; empty: either.
set -eu

service=$1
directory=$2

python3 -m venv "$directory"
pip() { "$directory/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

# Dependency groups need pip 25.1.
pip install --quiet pip==26.3
if [ "$service" != gateway ] && [ -n "${TORCH_INDEX:-}" ]; then
    # What torch itself needs comes with the group, from the index that everything else comes from.
    pip install --quiet --constraint constraints.txt --no-deps --index-url "$TORCH_INDEX" torch
fi
pip install --quiet --constraint constraints.txt --group "$service"
pip install --quiet --no-deps .

if [ "$service" != gateway ] && [ -n "${TORCH_VARIANT:-}" ]; then
    "$directory/bin/python" - "$TORCH_VARIANT" <<'CHECK'
import sys
import torch

found = "cpu" if torch.version.cuda is None else "cuda"
if found != sys.argv[1]:
    sys.exit(f"this torch is built for {found}, not for {sys.argv[1]}: set TORCH_INDEX")
CHECK
fi
# Nothing is installed into a finished image.
pip uninstall --quiet --yes pip setuptools
