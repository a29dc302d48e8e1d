"""The client and the command line against a running instance."""

import io
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from demo.image_server import image_server
from similis_client import (
    CollectionNotFound,
    FinetuneFailed,
    Forbidden,
    InvalidRequest,
    NotFinetuned,
    Query,
    Similis,
    SimilisSync,
)
from tests.e2e.running_instance import RunningInstance, data_with_shared_models
from tests.packages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
IMAGES = 12
COPY_SCORE = 0.99
# One worker starts faster than several.
SETTINGS = {"SIMILIS_WORKERS": "1", "SIMILIS_POLL_SECONDS": "0.5"}


def photograph(number: int) -> bytes:
    """Return a small picture of a few blurred colours, unlike those of other numbers."""
    colours = random.Random(number)
    image = Image.frombytes("RGB", (5, 5), colours.randbytes(75)).resize((160, 160), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def museum() -> Iterator[str]:
    with image_server({f"{number}.jpg": photograph(number) for number in range(IMAGES)}) as url:
        yield url


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    data = data_with_shared_models(tmp_path_factory.mktemp("client") / "data")
    instance = RunningInstance.start(data, "--allow-private-addresses", environment=SETTINGS)
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def key(instance: RunningInstance) -> str:
    return (instance.data / "admin-key").read_text().strip()


@pytest.fixture(scope="module")
def csv(museum: str) -> bytes:
    """Twelve images, and one that the museum does not have."""
    return b"".join(f"{museum}{number}.jpg,https://example.org/{number}\n".encode() for number in range(IMAGES + 1))


@pytest.fixture(scope="module")
def coins(instance: RunningInstance, key: str, csv: bytes) -> int:
    """A collection that was filled and finetuned with the synchronous client."""
    with SimilisSync(instance.address, key) as similis:
        created = similis.create("Münzen")
        assert similis.upload(created.id, csv).number_of_images == IMAGES + 1
        phases = {info.finetuning_phase for info in similis.finetune(created.id).watch(0.05)}
        assert "fetching" in phases
        return created.id


@pytest_asyncio.fixture
async def similis(instance: RunningInstance, key: str) -> AsyncIterator[Similis]:
    async with Similis(instance.address, key) as similis:
        yield similis


async def test_a_collection_is_listed_and_described(similis: Similis, coins: int) -> None:
    assert (coins, "Münzen") in [(found.id, found.name) for found in await similis.collections()]
    info = await similis.info(coins)
    assert (info.finetuning_state, info.requires_finetuning) == ("done", False)
    assert (info.number_of_images, info.number_of_indexed_images, info.number_of_failures) == (13, 12, 1)
    assert info.last_finetuned is not None
    assert info.last_finetuned >= info.last_modified


async def test_a_copy_is_found(similis: Similis, coins: int, museum: str, tmp_path: Path) -> None:
    answer = await similis.search(coins, Query(image=photograph(3), num_results=2))
    best, second = answer.results
    assert (best.image_url, best.repo_url) == (f"{museum}3.jpg", "https://example.org/3")
    assert best.score >= COPY_SCORE > second.score
    assert answer.index_id == (await similis.indexes(coins))[0].index_id


async def test_an_image_may_be_a_file(similis: Similis, coins: int, tmp_path: Path) -> None:
    image = tmp_path / "photo.jpg"
    image.write_bytes(photograph(4))
    assert (await similis.search(coins, image)).results[0].repo_url == "https://example.org/4"


async def test_failures_are_listed(similis: Similis, coins: int, museum: str) -> None:
    found = [(failure.image_url, failure.reason) async for failure in similis.failures(coins, page_size=1)]
    assert found == [(f"{museum}12.jpg", "not_found")]
    assert b"not_found" in await similis.failures_csv(coins)


async def test_the_content_comes_back_as_it_was(similis: Similis, coins: int, csv: bytes, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    await similis.download(coins, target)
    assert target.read_bytes() == csv == await similis.csv(coins)
    revisions = await similis.revisions(coins)
    assert [revision.rows for revision in revisions] == [13]
    assert await similis.csv(coins, revision=revisions[0].revision) == csv


async def test_an_index_says_what_it_is_made_of(similis: Similis, coins: int) -> None:
    newest = (await similis.indexes(coins))[0]
    assert newest.live
    assert await similis.index(coins, newest.index_id) == newest
    assert newest.failures == {"not_found": 1}


async def test_nothing_new_starts_no_finetune(similis: Similis, coins: int) -> None:
    finetune = await similis.finetune(coins)
    assert finetune.job_id is None
    assert not (await finetune.wait()).requires_finetuning


async def test_a_life_of_a_collection(similis: Similis) -> None:
    created = await similis.create("short-lived")
    await similis.rename(created.id, "renamed")
    assert (await similis.info(created.id)).name == "renamed"
    with pytest.raises(NotFinetuned):
        await similis.search(created.id, photograph(1))
    with pytest.raises(InvalidRequest) as refused:
        await similis.upload(created.id, b"no url,1\n" * 2)
    assert refused.value.code == "invalid_csv"
    assert refused.value.request_id
    with pytest.raises(InvalidRequest) as empty:
        await similis.upload(created.id, b"")
    assert empty.value.code == "empty_content"
    assert (await similis.upload(created.id, b"", allow_empty=True)).number_of_images == 0
    await similis.delete(created.id)
    with pytest.raises(CollectionNotFound):
        await similis.info(created.id)


async def test_a_finetune_that_fails_raises_its_code(similis: Similis, museum: str) -> None:
    created = await similis.create("nothing there")
    await similis.upload(created.id, f"{museum}missing.jpg,1\n".encode())
    with pytest.raises(FinetuneFailed) as failed:
        await similis.finetune(created.id).wait(0.05)
    assert failed.value.code == "no_images_indexed"
    assert (await similis.cancel_finetune(created.id)).job_id is None


async def test_a_wrong_key_is_forbidden(instance: RunningInstance, similis: Similis) -> None:
    assert (await similis.verify()).message == "API key is valid"
    async with Similis(instance.address, "wrong") as other:
        with pytest.raises(Forbidden):
            await other.verify()


def test_the_blocks_of_the_readme_run_as_written(instance: RunningInstance, museum: str, tmp_path: Path) -> None:
    """Only the address and the data directory are those of the test."""
    section = README.partition("## Use it")[2].partition("## Documentation")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert [("similis " in block, "curl " in block) for block in blocks] == [(True, False), (False, True)]
    rows = "".join(f"{museum}{number}.jpg,https://repository.example.org/coins/{number // 2}\n" for number in range(4))
    (tmp_path / "coins.csv").write_text(rows)
    (tmp_path / "photo.jpg").write_bytes(photograph(3))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "similis").write_text(f'#!/bin/sh\nexec {sys.executable} -m similis_cli "$@"\n')
    (programs / "similis").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "SIMILIS_URL": instance.address,
        "LANG": "C.UTF-8",
    }
    outputs = []
    for block in blocks:
        text = block.replace("http://127.0.0.1:8080", instance.address).replace("/srv/similis", str(instance.data))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    commands, requests = outputs
    assert "4 images can be found" in commands
    best = commands.splitlines()[-4].split("\t")
    assert float(best[0]) >= COPY_SCORE
    assert best[-2:] == [f"{museum}3.jpg", "https://repository.example.org/coins/1"]
    found = json.loads(requests[requests.index('{"results"') :])["results"]
    assert len(found) == 3
    assert found[0]["score"] >= COPY_SCORE
    assert found[0]["repo_url"] == "https://repository.example.org/coins/1"


def run(instance: RunningInstance, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with the first key, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "similis_cli", *arguments, "--key-file", str(instance.data / "admin-key")],
        env={"SIMILIS_URL": instance.address, "XDG_CONFIG_HOME": str(instance.data / "none"), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_failures_are_listed_on_the_command_line(instance: RunningInstance, coins: int) -> None:
    failed = run(instance, "failures", str(coins), "--json")
    assert [failure["reason"] for failure in json.loads(failed.stdout)] == ["not_found"]


def test_a_collection_lives_and_ends_on_the_command_line(instance: RunningInstance, csv: bytes, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_bytes(csv)
    imported = run(instance, "import", str(tmp_path / "images.csv"), "--name", "Karten")
    assert imported.returncode == 0, imported.stderr
    assert "13 images" in imported.stdout
    assert "not finetuned" in run(instance, "list").stdout
    assert run(instance, "export", "Karten").stdout.encode() == csv
    assert run(instance, "delete", "Karten").returncode == 2
    assert run(instance, "delete", "Karten", "--yes").returncode == 0
    assert "Karten" not in run(instance, "list").stdout
