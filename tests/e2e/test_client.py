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
    Example,
    FinetuneFailed,
    Forbidden,
    InvalidRequest,
    NewImage,
    NotFinetuned,
    Query,
    Region,
    SearchAnswer,
    Similis,
    SimilisSync,
)
from tests.e2e.running_instance import RunningInstance, data_with_shared_models
from tests.packages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
IMAGES = 12
ROWS = IMAGES + 2
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
    images = {f"{number}.jpg": photograph(number) for number in range(IMAGES)}
    # Another file with the same bytes.
    images["again-0.jpg"] = photograph(0)
    with image_server(images) as url:
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
    """Twelve images, one that the museum does not have, and one that it has twice."""
    names = [*map(str, range(IMAGES + 1)), "again-0"]
    return b"".join(f"{museum}{name}.jpg,https://example.org/{name}\n".encode() for name in names)


@pytest.fixture(scope="module")
def coins(instance: RunningInstance, key: str, csv: bytes) -> int:
    """A collection that was filled and finetuned with the synchronous client."""
    with SimilisSync(instance.address, key) as similis:
        created = similis.create("Münzen")
        assert similis.upload(created.id, csv).number_of_images == ROWS
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
    assert (info.number_of_images, info.number_of_indexed_images, info.number_of_failures) == (ROWS, ROWS - 1, 1)
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
    assert [revision.rows for revision in revisions] == [ROWS]
    assert await similis.csv(coins, revision=revisions[0].revision) == csv


async def test_an_index_says_what_it_is_made_of(similis: Similis, coins: int) -> None:
    newest = (await similis.indexes(coins))[0]
    assert newest.live
    assert await similis.index(coins, newest.index_id) == newest
    assert newest.failures == {"not_found": 1}


async def test_the_service_describes_itself(similis: Similis) -> None:
    service = await similis.service()
    assert service.backbone is not None
    assert (service.backbone.name, service.backbone.text) == ("efficientnet-lite0", False)
    assert service.limits["max_image_bytes"] == 20 << 20
    specification = await similis.specification()
    paths = specification["paths"]
    assert isinstance(paths, dict)
    assert "/api/collection/{id}/similar" in paths
    key = await similis.verify()
    assert (key.scope, key.collections, key.expires_at) == ("admin", None, None)


async def test_an_indexed_image_is_a_query(similis: Similis, coins: int, museum: str) -> None:
    images = [image async for image in similis.images(coins, state="indexed", page_size=5)]
    assert [image.image_url for image in images[:IMAGES]] == [f"{museum}{number}.jpg" for number in range(IMAGES)]
    third = images[3]
    assert await similis.image(coins, third.image_id) == third
    by_id = await similis.search(coins, Query(image_id=third.image_id, exclude_self=False, num_results=2))
    assert [by_id.results[0].image_id, by_id.next_offset] == [third.image_id, 2]
    like = await similis.similar(coins, repo_url=third.repo_url, num_results=ROWS)
    assert third.image_id not in [result.image_id for result in like.results]
    assert len(like.results) == ROWS - 2
    grouped = await similis.search(coins, Query(image_url=third.image_url, group_by="repo_url", num_results=1))
    assert [(result.repo_url, result.views) for result in grouped.results] == [(third.repo_url, 1)]
    part = Query(image=photograph(3), region=Region(x=0.0, y=0.0, width=0.9, height=0.9), num_results=1)
    assert (await similis.search(coins, part)).results[0].image_id == third.image_id


async def test_examples_pages_and_batches(similis: Similis, coins: int) -> None:
    images = [image.image_id async for image in similis.images(coins, state="indexed")]
    both = Query(examples=[Example(image_id=images[0]), Example(image_id=images[1], weight=-0.5)], num_results=4)
    found = [result.image_id async for result in similis.results(coins, both)]
    assert len(set(found)) == len(found) == ROWS - 3
    queries: list[Query | bytes] = [Query(image_id=images[0]), Query(image_id=999_999), photograph(2)]
    first, wrong, last = await similis.search_batch(coins, queries)
    assert isinstance(first, SearchAnswer)
    assert isinstance(last, SearchAnswer)
    assert isinstance(wrong, InvalidRequest)
    assert wrong.code == "image_not_found"


async def test_a_search_of_all_collections_names_those_that_it_skips(similis: Similis, coins: int) -> None:
    answer = await similis.search_collections(photograph(1), [coins, 999_999])
    assert [(skipped.collection_id, skipped.code) for skipped in answer.skipped] == [(999_999, "collection_not_found")]
    assert {result.collection_id for result in answer.results} == {coins}
    assert answer.results[0].repo_url == "https://example.org/1"


async def test_images_are_added_and_removed(similis: Similis, museum: str) -> None:
    created = await similis.create("edited")
    await similis.upload(created.id, f"{museum}0.jpg,https://example.org/0\n".encode())
    added = await similis.add_images(created.id, [NewImage(image_url=f"{museum}1.jpg", repo_url="x")])
    assert await similis.csv(created.id) == f"{museum}0.jpg,https://example.org/0\n{museum}1.jpg,x\n".encode()
    await similis.remove_images(created.id, added)
    assert await similis.csv(created.id) == f"{museum}0.jpg,https://example.org/0\n".encode()
    await similis.delete(created.id)


async def test_identical_files_are_duplicates(similis: Similis, coins: int, museum: str) -> None:
    (group,) = [group async for group in similis.duplicates(coins, kind="identical", page_size=1)]
    assert [image.image_url for image in group.images] == [f"{museum}0.jpg", f"{museum}again-0.jpg"]
    assert (group.number_of_images, group.number_of_entries, group.score) == (2, 2, 1.0)
    assert (await similis.duplicates_csv(coins, kind="identical")).count(b"identical") == 2


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
    assert f"{ROWS} images" in imported.stdout
    assert "not finetuned" in run(instance, "list").stdout
    assert run(instance, "export", "Karten").stdout.encode() == csv
    assert run(instance, "delete", "Karten").returncode == 2
    assert run(instance, "delete", "Karten", "--yes").returncode == 0
    assert "Karten" not in run(instance, "list").stdout
