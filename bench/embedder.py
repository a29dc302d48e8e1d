"""Measure the embedder: throughput and latency against the same engine without the service, and memory.

Each round measures the service and the bare engine in turns, so that ratios do not depend on what else the machine
does. Compare ratios, and not the absolute figures of different runs. The table shows the median, the lowest and the
highest round.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.parts.bound import bare_rate, rate
from bench.parts.instance.memory import memory_by_role
from bench.parts.measuring_process import MeasuringProcess, quantile
from bench.parts.rounds import Rounds
from embedder.backbones.resolve import resolve_backbone
from embedder.config import EmbedderSettings, worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import has_cuda, plan_hardware, usable_cores
from standalone.process.tether import tethered

BATCH = 8
CUDA_BATCH = 64
CONCURRENCY = (1, 2, 4, 8, 16)
# No more than the interactive queue holds.
CUDA_CONCURRENCY = (1, 4, 16, 64)
# What we want to hold.
AT_LEAST = {
    "engine_vs_eager": 3.0,
    "service_vs_bare": 0.85,
    "dinov2-base_service_vs_bare": 0.8,
    "siglip2-base_service_vs_bare": 0.8,
    "dinov2-base_decoded_vs_bf16_forward": 0.85,
    "siglip2-base_decoded_vs_bf16_forward": 0.85,
}
AT_MOST = {
    "interactive_p50_over_bare_ms": 4.0,
    "interactive_p99_under_bulk_vs_idle": 3.0,
    "memory_10000_vs_1000": 1.05,
}


@contextmanager
def service(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run the embedder as a process while entered, and return its gRPC address and process id."""
    with tempfile.TemporaryDirectory() as folder:
        target = f"unix:{folder}/embedder.sock"
        process = subprocess.Popen(
            tethered([sys.executable, "-m", "embedder"], signal.SIGTERM),
            env={**os.environ, "SIMILIS_LOG_LEVEL": "warning", **environment, "SIMILIS_LISTEN": target},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not Path(folder, "embedder.sock").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the embedder did not start: see its messages above")
                time.sleep(0.05)
            yield target, process.pid
        finally:
            process.terminate()
            process.wait()


def measure(rounds: Rounds, options: argparse.Namespace) -> None:
    """Measure on the CPU."""
    source = resolve_backbone("efficientnet-lite0", None)
    cache = EmbedderSettings().model_cache
    model = str(asyncio.run(converted_model(source, cache, worker_environment())).model)
    cores = usable_cores()
    folder = str(options.images or "")
    single = {**worker_environment(), "OMP_NUM_THREADS": str(cores)}
    eager = MeasuringProcess("bare_loop", "torch", source.to_json(), model, str(cores), folder, env=single)
    all_cores = MeasuringProcess("bare_loop", "openvino", source.to_json(), model, str(cores), folder)
    loops = [
        MeasuringProcess("bare_loop", "openvino", source.to_json(), model, "1", folder, env=worker_environment())
        for _ in range(cores)
    ]
    with service({}) as (target, pid):
        bulk, callers = (MeasuringProcess("service_load", target, folder) for _ in range(2))
        for process in (eager, all_cores):
            process.ask(do="forward", seconds=0.2, batch=BATCH)
        callers.ask(do="unary", seconds=0.5, concurrency=4)
        for _ in range(options.rounds):
            compare_engines(rounds, eager, all_cores, options.seconds)
            compare_throughput(rounds, loops, bulk, callers, options.seconds)
            compare_latency(rounds, all_cores, bulk, callers, options.seconds)
        if not options.quick:
            measure_concurrency(rounds, callers)
            measure_memory(rounds, bulk, pid)
        for process in (eager, all_cores, *loops, bulk, callers):
            process.close()


def measure_cuda(rounds: Rounds, options: argparse.Namespace) -> None:
    """Measure on a GPU, for each of the large backbones."""
    from bench.parts.random_backbones import save_backbone

    folder = str(options.images or "")
    for kind in ("dinov2-base", "siglip2-base"):
        with tempfile.TemporaryDirectory() as scratch:
            path = save_backbone(kind, Path(scratch) / kind)
            source = resolve_backbone(str(path), None)
            plan = plan_hardware(EmbedderSettings(device="cuda", max_batch=CUDA_BATCH), cuda=True)
            bare = MeasuringProcess("cuda_loop", source.to_json(), str(CUDA_BATCH), str(plan.workers), folder)
            environment = {
                "SIMILIS_DEVICE": "cuda",
                "SIMILIS_BACKBONE": str(path),
                "SIMILIS_MAX_BATCH": str(CUDA_BATCH),
            }
            with service(environment) as (target, pid):
                bulk, callers = (MeasuringProcess("service_load", target, folder) for _ in range(2))
                bulk.ask(do="stream", seconds=1.0)
                for _ in range(options.rounds):
                    compare_cuda(rounds, kind, bare, bulk, options.seconds)
                    compare_latency(rounds, bare, bulk, callers, options.seconds, f"{kind}_")
                if not options.quick:
                    measure_concurrency(rounds, callers, CUDA_CONCURRENCY, f"{kind}_")
                    measure_memory(rounds, bulk, pid, f"{kind}_")
                bulk.close()
                callers.close()
            bare.close()


def compare_cuda(rounds: Rounds, kind: str, bare: MeasuringProcess, load: MeasuringProcess, seconds: float) -> None:
    """Measure one round of one backbone on the GPU."""
    forward = bare.ask(do="bound", seconds=seconds)
    bound = float(forward["best"])
    decoded = rate(bare.ask(do="decoded", seconds=seconds))
    loop = rate(bare.ask(do="loop", seconds=seconds))
    stream = rate(load.ask(do="stream", seconds=seconds))
    figures = {"bf16_forward": bound, "engine_from_decoded": decoded, "bare_loop": loop, "service_stream": stream}
    for name, value in figures.items():
        rounds.add(f"{kind}_{name}_images_per_second", value)
    rounds.add(f"{kind}_bf16_forward_best_batch", float(forward["best_batch"]))
    rounds.add(f"{kind}_service_vs_bare", stream / loop)
    rounds.add(f"{kind}_decoded_vs_bf16_forward", decoded / bound)


def compare_engines(rounds: Rounds, eager: MeasuringProcess, all_cores: MeasuringProcess, seconds: float) -> None:
    """Compare the forward pass of the engine with that of plain torch."""
    slow = rate(eager.ask(do="forward", seconds=seconds, batch=BATCH))
    fast = rate(all_cores.ask(do="forward", seconds=seconds, batch=BATCH))
    rounds.add("eager_images_per_second", slow)
    rounds.add("engine_images_per_second", fast)
    rounds.add("engine_vs_eager", fast / slow)


def compare_throughput(
    rounds: Rounds, loops: list[MeasuringProcess], bulk: MeasuringProcess, callers: MeasuringProcess, seconds: float
) -> None:
    """Compare the service with bare loops that run before and after it, in case the machine becomes busier."""
    before = bare_rate(loops, seconds / 2)
    stream = rate(bulk.ask(do="stream", seconds=seconds))
    middle = bare_rate(loops, seconds / 2)
    unary = rate(callers.ask(do="unary", seconds=seconds, concurrency=8))
    after = bare_rate(loops, seconds / 2)
    rounds.add("bare_images_per_second", statistics.mean((before, middle, after)))
    rounds.add("stream_images_per_second", stream)
    rounds.add("unary_images_per_second", unary)
    rounds.add("service_vs_bare", stream / statistics.mean((before, middle)))
    rounds.add("unary_vs_bare", unary / statistics.mean((middle, after)))


def compare_latency(
    rounds: Rounds,
    bare: MeasuringProcess,
    bulk: MeasuringProcess,
    callers: MeasuringProcess,
    seconds: float,
    prefix: str = "",
) -> None:
    """Measure one caller at a time, alone and beside a bulk stream. prefix: of the figures' names."""
    bare_p50 = quantile(bare.ask(do="single", seconds=seconds)["milliseconds"], 0.5)
    idle = callers.ask(do="unary", seconds=seconds, concurrency=1)["milliseconds"]
    bulk.begin(do="stream", seconds=seconds + 1.0)
    time.sleep(0.5)
    busy = callers.ask(do="unary", seconds=seconds, concurrency=1)["milliseconds"]
    bulk.result()
    rounds.add(f"{prefix}bare_single_p50_ms", bare_p50)
    for name, times in (("idle", idle), ("under_bulk", busy)):
        for share in (0.5, 0.99):
            rounds.add(f"{prefix}interactive_p{share * 100:.0f}_{name}_ms", quantile(times, share))
    rounds.add(f"{prefix}interactive_p50_over_bare_ms", quantile(idle, 0.5) - bare_p50)
    rounds.add(f"{prefix}interactive_p99_under_bulk_vs_idle", quantile(busy, 0.99) / quantile(idle, 0.99))


def measure_concurrency(
    rounds: Rounds, callers: MeasuringProcess, steps: tuple[int, ...] = CONCURRENCY, prefix: str = ""
) -> None:
    """Measure single images from more and more concurrent callers."""
    for concurrency in steps:
        answer = callers.ask(do="unary", seconds=4.0, concurrency=concurrency)
        rounds.add(f"{prefix}unary_{concurrency}_images_per_second", rate(answer))
        rounds.add(f"{prefix}unary_{concurrency}_p50_ms", quantile(answer["milliseconds"], 0.5))
        rounds.add(f"{prefix}unary_{concurrency}_p99_ms", quantile(answer["milliseconds"], 0.99))


def measure_memory(rounds: Rounds, bulk: MeasuringProcess, pid: int, prefix: str = "") -> None:
    """Measure the memory of the service and its workers after 1,000 and after 10,000 images."""
    bulk.ask(do="images", count=1000)
    before = _memory(pid)
    bulk.ask(do="images", count=9000)
    after = _memory(pid)
    rounds.add(f"{prefix}memory_after_1000_mb", before)
    rounds.add(f"{prefix}memory_after_10000_mb", after)
    rounds.add(f"{prefix}memory_10000_vs_1000", after / before)


def _memory(pid: int) -> float:
    return sum(memory_by_role(psutil.Process(pid)).values())


def show(rounds: Rounds) -> None:
    """Print the table."""
    print(f"{'':42}{'median':>10}{'lowest':>10}{'highest':>10}   wanted")
    for name, values in rounds.values.items():
        median = rounds.median(name)
        print(f"{name:42}{median:10.2f}{min(values):10.2f}{max(values):10.2f}{verdict(name, median)}")


def verdict(name: str, value: float) -> str:
    """Return what we want of this figure and whether it holds, or "" if we want nothing."""
    if name in AT_LEAST:
        return f"   at least {AT_LEAST[name]:g}: {'ok' if value >= AT_LEAST[name] else 'MISSED'}"
    if name in AT_MOST:
        return f"   at most {AT_MOST[name]:g}: {'ok' if value <= AT_MOST[name] else 'MISSED'}"
    return ""


def as_json(rounds: Rounds) -> dict[str, object]:
    """Return ratios and figures as medians, and all rounds."""
    medians = {name: round(rounds.median(name), 4) for name in rounds.values}
    return {
        "ratios": {
            name: value for name, value in medians.items() if name in AT_LEAST or name in AT_MOST or "_vs_" in name
        },
        "figures": medians,
        "rounds": rounds.values,
        "cores": usable_cores(),
    }


def main() -> None:
    """Parse the options, measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="take less than a minute: fewer and shorter rounds, no memory"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="embed the images of DIR instead of crops of scikit-image's"
    )
    options = parser.parse_args()
    options.rounds, options.seconds = (3, 1.0) if options.quick else (5, 3.0)
    if options.device == "cuda" and not asyncio.run(has_cuda("cuda", worker_environment())):
        raise SystemExit("torch finds no usable GPU")
    rounds = Rounds()
    (measure_cuda if options.device == "cuda" else measure)(rounds, options)
    show(rounds)
    if options.json:
        options.json.write_text(json.dumps(as_json(rounds), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
