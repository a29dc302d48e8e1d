"""Measure all workloads on this machine, each figure beside its bound and its bar: `make bench`.

    python -m bench.performance [--only NAME ...] [--quick] [--json FILE] [--document FILE]

searches          searches from HTTP to the answer, beside a plain alternative and the bound
beside_finetune   searches in one collection while another one is finetuned
indexing          images a second from the upload to the published index; then 1 % changed, and nothing changed
uploads           uploads of a large CSV
starts            cold and warm starts until ready
memory            anonymous memory by the number of images, and searches of a large collection

The machine should do nothing else. Absolute figures depend on it, so compare ratios. FILE of --json keeps the newest
figures of each workload, so they can be measured one at a time. The table and the charts show all that it holds.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from bench.parts.report.figures import Figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.parts.report.record import Record, machine
from bench.parts.report.table import markdown_table, missed, text_table, with_figures
from bench.workloads import beside_finetune, indexing, memory, searches, starts, uploads
from bench.workloads.options import FULL, QUICK, Options
from demo.instance import NotStarted
from demo.rest_client import Refused

WORKLOADS: Mapping[str, Callable[[Options, Progress], Measured]] = {
    "searches": searches.measure,
    "beside_finetune": beside_finetune.measure,
    "indexing": indexing.measure,
    "uploads": uploads.measure,
    "starts": starts.measure,
    "memory": memory.measure,
}
BUILT = Path(__file__).parents[1] / "build" / "bench"
INTERRUPTED = 130
# Options whose default depends on --quick.
SIZES = (
    ("rounds", int, "rounds of searches"),
    ("seconds", float, "of each measurement of searches"),
    ("rows", int, "images of the collection that is searched"),
    ("beside", int, "images of the collection that is finetuned beside searches"),
    ("upload_rows", int, "rows of the CSV"),
    ("memory_rows", int, "images of the large collection whose memory is measured, such as 1000000"),
    ("starts", int, "warm starts"),
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(WORKLOADS)
    parser.add_argument(
        "--only", nargs="+", choices=WORKLOADS, metavar="NAME", default=list(WORKLOADS), help=f"of {names}"
    )
    parser.add_argument("--quick", action="store_true", help="only see that everything works, in a few minutes")
    parser.add_argument("--show", action="store_true", help="measure nothing, and show what FILE of --json holds")
    for name, kind, what in SIZES:
        default = f"{getattr(FULL, name):g}; with --quick: {getattr(QUICK, name):g}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{what} (default: {default})")
    parser.add_argument("--clients", type=int, nargs="+", help=f"at once (default: {_words(FULL.clients)})")
    parser.add_argument(
        "--images", type=int, nargs="+", help=f"sizes of new collections to index (default: {_words(FULL.images)})"
    )
    parser.add_argument("--one-kind", action="store_true", help="of searches, only those by an image in JSON")
    parser.add_argument("--queries", type=Path, metavar="FOLDER", help="search by the images of FOLDER")
    parser.add_argument(
        "--photographs", type=Path, metavar="FOLDER", help="make the images that are indexed of those of FOLDER"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="keep filled collections in FOLDER, and use them again"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=BUILT / "performance.json",
        help="default: build/bench/performance.json of this repository",
    )
    parser.add_argument(
        "--charts", type=Path, metavar="FOLDER", help="where the charts go (default: the folder of --json)"
    )
    parser.add_argument("--document", type=Path, metavar="FILE", help="also put tables and charts into this document")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> Options:
    """Return what the workloads do. Raises SystemExit if that makes no sense."""
    preset = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name, _, _ in SIZES if getattr(options, name) is not None}
    for name, value in given.items():
        if value <= 0:
            raise SystemExit(f"--{name.replace('_', '-')} must be greater than 0")
    for name in ("clients", "images"):
        if (values := getattr(options, name)) is not None:
            if min(values) <= 0:
                raise SystemExit(f"--{name} must be greater than 0")
            given[name] = tuple(values)
    for name in ("queries", "photographs"):
        folder = getattr(options, name)
        if folder is not None and not folder.is_dir():
            raise SystemExit(f"--{name}: {folder} is no folder")
    # Images that were made of other photographs are other images.
    made = BUILT / ("images" if options.photographs is None else f"images-of-{options.photographs.resolve().name}")
    return replace(
        preset,
        every_kind=preset.every_kind and not options.one_kind,
        queries=options.queries,
        photographs=options.photographs,
        data=options.data,
        made=made.resolve(),
        **given,
    )


def measure(names: Sequence[str], options: Options, record: Record) -> None:
    """Measure workloads one after the other, and record each as soon as it has ended."""
    for name in names:
        before, began = machine(), time.monotonic()
        measured = WORKLOADS[name](options, Progress(name))
        minutes = round((time.monotonic() - began) / 60, 1)
        record.add(name, measured, {**before, "load_after": machine()["load"], "minutes": minutes})


def report(record: Record, charts: Path, document: Path | None) -> None:
    """Print the table, and write the charts and the document."""
    measured = dict(record.measured())
    if not measured:
        raise SystemExit("nothing has been measured yet")
    found = {name: measured[name] for name in WORKLOADS if name in measured}
    figures: dict[str, Sequence[Figure]] = {name: one.figures for name, one in found.items()}
    print(f"\n{text_table(figures)}")
    save_charts(found, charts)
    if document:
        # The document shows the charts of the folder beside it that has its name.
        save_charts(found, document.with_suffix(""))
        block = markdown(found, document.stem)
        document.write_text(with_figures(document.read_text(encoding="utf-8"), block), encoding="utf-8")
    if failed := missed(figures):
        print(f"\n{len(failed)} bars are missed:\n  " + "\n  ".join(failed))
    print(f"\ncharts: {charts}")


def require_marks(document: Path) -> None:
    """Raise SystemExit, before anything is measured, if a document cannot take tables."""
    try:
        with_figures(document.read_text(encoding="utf-8"), "")
    except (OSError, ValueError) as error:
        raise SystemExit(f"--document: {document}: {error}") from None


def save_charts(found: Mapping[str, Measured], folder: Path) -> None:
    """Write all charts into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for measured in found.values():
        for name, chart in measured.charts.items():
            (folder / f"{name}.svg").write_text(chart.svg(), encoding="utf-8")


def markdown(found: Mapping[str, Measured], folder: str) -> str:
    """Return the tables of all workloads, each with its charts, which are in a folder beside the document."""
    blocks = []
    for workload, measured in found.items():
        blocks.append(markdown_table(workload, measured.figures))
        blocks += [f"![{chart.label}]({folder}/{name}.svg)" for name, chart in measured.charts.items()]
    return "\n\n".join(blocks)


def main() -> None:
    """Measure, and report. After Ctrl-C or SIGTERM, everything that was started is stopped."""
    signal.signal(signal.SIGTERM, _stop)
    options = parse(sys.argv[1:])
    work = chosen(options)
    record = Record(options.json)
    if options.document:
        require_marks(options.document)
    try:
        if not options.show:
            measure(options.only, work, record)
        report(record, options.charts or options.json.parent, options.document)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except (NotStarted, Refused) as error:
        raise SystemExit(str(error)) from None


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _words(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


if __name__ == "__main__":
    main()
