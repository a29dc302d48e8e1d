#!/bin/sh
# Writes the generated code of every .proto file below similis/proto into the folder given (default: the repository).
set -eu
cd "$(dirname "$0")/../.."
out=${1:-.}
# shellcheck disable=SC2046
python -m grpc_tools.protoc -I . --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
    $(find similis/proto -name '*.proto' | sort)
