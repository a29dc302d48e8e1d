"""How much the workloads do, and where."""

from dataclasses import dataclass
from pathlib import Path

FULL_CLIENTS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Options:
    """What the command line says.

    rounds, seconds: of searches, and how long each measurement takes. clients: at once. rows: of the collection that is
    searched. images: the sizes of the collections that are indexed. beside: rows of the collection that is finetuned
    while another one is searched. upload_rows: of the CSV. memory_rows: of the collection whose memory is measured.
    starts: how many warm starts. every_kind: not only searches by an image in JSON.

    queries: a folder of images to search by, instead of crops of photographs that Python packages have. photographs: a
    folder of those that the indexed images are made of, instead of the same ones. data: where filled instances are
    kept, to use them again. made: where the images are kept that were made.
    """

    rounds: int
    seconds: float
    clients: tuple[int, ...]
    rows: int
    images: tuple[int, ...]
    beside: int
    upload_rows: int
    memory_rows: int
    starts: int
    every_kind: bool = True
    queries: Path | None = None
    photographs: Path | None = None
    data: Path | None = None
    made: Path = Path("build/bench/images")


FULL = Options(
    rounds=3,
    seconds=3.0,
    clients=FULL_CLIENTS,
    rows=10_000,
    images=(1_000, 10_000),
    beside=3_000,
    upload_rows=1_000_000,
    memory_rows=100_000,
    starts=3,
)
# Whether everything works, in a few minutes. Its figures mean little.
QUICK = Options(
    rounds=1,
    seconds=1.0,
    clients=(1, 4),
    rows=2_000,
    images=(200,),
    beside=200,
    upload_rows=50_000,
    memory_rows=20_000,
    starts=1,
    every_kind=False,
)
