#!/bin/sh
# Create a virtual environment: `install.sh SERVICE DIRECTORY [TORCH]`, in the root of the repository. The Dockerfile runs
# it, and so does `make docker-check` on machines without a container engine.
#
# SERVICE: gateway, embedder or trainer; or torch, for an environment with torch alone.
# TORCH: the directory of such an environment, which the embedder and the trainer use.
#
# TORCH_VARIANT: cpu or cuda; the build fails if torch is the other variant. Empty: any variant.
# TORCH_INDEX: the package index for torch. Empty: PyTorch's own index of CPU builds for TORCH_VARIANT=cpu, because most
# indexes only have the CUDA build, and otherwise the index that all other packages come from.
set -eu

service=$1
directory=$2
torch=${3:-}
variant=${TORCH_VARIANT:-}
index=${TORCH_INDEX:-}
if [ "$variant" = cpu ] && [ -z "$index" ]; then
    index=https://download.pytorch.org/whl/cpu
fi

python3 -m venv "$directory"
pip() { "$directory/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }

# Dependency groups need pip 25.1.
pip install --quiet pip==26.3
if [ "$service" = torch ]; then
    if [ -n "$index" ]; then
        # Its dependencies come from the ordinary index.
        pip install --quiet --constraint constraints.txt --no-deps --index-url "$index" torch
    fi
    pip install --quiet --constraint constraints.txt torch
    if [ -n "$variant" ]; then
        "$directory/bin/python" - "$variant" <<'CHECK'
import sys
import torch

found = "cpu" if torch.version.cuda is None else "cuda"
if found != sys.argv[1]:
    sys.exit(f"TORCH_VARIANT is {sys.argv[1]}, but this torch is built for {found}: set TORCH_INDEX to another index")
CHECK
    fi
else
    if [ -n "$torch" ]; then
        # pip finds the packages there, and installs what is missing here.
        packages=$(cd "$torch"/lib/python3.*/site-packages && pwd)
        echo "$packages" > "$(echo "$directory"/lib/python3.*/site-packages)/torch.pth"
    fi
    pip install --quiet --constraint constraints.txt --group "$service"
    pip install --quiet --no-deps .
fi
# The client's `similis` would need more packages. In an image, it has the commands of the service alone.
cat > "$directory/bin/similis" <<'COMMAND'
#!/bin/sh
exec "$(dirname "$0")/python" -P -m standalone "$@"
COMMAND
chmod 0755 "$directory/bin/similis"
# A finished image installs nothing.
pip uninstall --quiet --yes pip setuptools
