#!/bin/sh
# Writes the generated code of every .proto file beside it, or below the folder given.
set -eu
cd "$(dirname "$0")"
out=${1:-.}
# shellcheck disable=SC2046
python -m grpc_tools.protoc -I . --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
    $(find similis -name '*.proto' | sort)
