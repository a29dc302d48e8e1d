"""What each command sends and prints, and its exit status."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.similis_cli.conftest import Commands, Terminal
from tests.unit.similis_client.test_client import INFO, RESULT

NAMES = {"names": [{"id": 1, "name": "coins"}, {"id": 2, "name": "maps"}, {"id": 3, "name": "maps"}]}
ONE = {"names": [{"id": 1, "name": "coins"}]}
DONE = INFO | {"finetuning_state": "done", "requires_finetuning": False, "last_finetuned": "2026-11-25T09:43:49Z"}
DONE |= {"number_of_indexed_images": 2, "number_of_failures": 0}
RUNNING = INFO | {"finetuning_state": "running", "finetuning_progess": 12.5, "finetuning_phase": "fetching"}
STARTED = {"job_id": 3, "message": "Model finetuning started", "message_type": "push"}


def csv(home: Path) -> str:
    file = home / "images.csv"
    file.write_bytes(b"https://example.org/1.jpg,1\nhttps://example.org/2.jpg,2\n")
    return str(file)


async def test_list_shows_the_state_of_each_collection(commands: Commands) -> None:
    commands.service.answer(ONE)
    commands.service.answer(DONE)
    ended = await commands.run("list")
    assert (ended.status, ended.output) == (0, "1\tcoins\t2\t2\t0\t2026-11-24\tready\n")


async def test_list_is_a_table_on_a_terminal(commands: Commands, terminal: Terminal) -> None:
    terminal()
    commands.service.answer(ONE)
    commands.service.answer(RUNNING)
    ended = await commands.run("list")
    header, _, row = [line for line in ended.output.splitlines() if line.strip()]
    assert header.split() == ["Id", "Name", "Images", "Indexed", "Failed", "Changed", "State"]
    assert row.rstrip().split(maxsplit=4) == ["1", "coins", "2", "2026-11-24", "finetuning, 12 %"]


async def test_an_empty_list_says_what_to_do(commands: Commands, terminal: Terminal) -> None:
    terminal()
    commands.service.answer({"names": []})
    assert "similis import" in (await commands.run("list")).output


async def test_json_has_all_fields(commands: Commands) -> None:
    commands.service.answer(DONE)
    answer = (await commands.run("status", "1", "--json")).json
    assert answer["last_modified"] == "2026-11-24T09:43:49Z"
    assert answer["finetuning_state"] == "done"


async def test_a_collection_may_be_named(commands: Commands) -> None:
    commands.service.answer(NAMES)
    commands.service.answer(DONE)
    assert "coins" in (await commands.run("status", "coins")).output
    assert commands.service.received[-1].path == "/api/collection/1/info"


@pytest.mark.parametrize(
    ("name", "words"), [("stamps", "no collection with the name 'stamps'"), ("maps", "Use an id: 2, 3")]
)
async def test_a_name_that_is_not_one_collection_is_refused(commands: Commands, name: str, words: str) -> None:
    commands.service.answer(NAMES)
    ended = await commands.run("status", name)
    assert ended.status == 1
    assert words in ended.errors


async def test_import_creates_a_collection_and_finetunes_it(commands: Commands, home: Path) -> None:
    answers: list[dict[str, Any]] = [
        {"names": []},
        {"id": 1, "message": "Collection created"},
        {"number_of_images": 2, "message": "", "warnings": ["Line 1 is a header row."]},
        STARTED,
        RUNNING,
        DONE,
    ]
    for answer in answers:
        commands.service.answer(answer)
    ended = await commands.run("import", csv(home), "--name", "coins", "--finetune", "--watch")
    assert ended.status == 0
    assert ended.output.splitlines() == [
        "Collection 1 has 2 images.",
        "Collection 1, 'coins', is ready: 2 images can be found.",
    ]
    assert ended.errors.splitlines() == ["warning: Line 1 is a header row.", " 12 %  Downloading and embedding images"]
    upload = commands.service.received[2]
    assert (upload.path, upload.headers["Content-Type"]) == ("/api/collection/1/updatecontent", "text/csv")


async def test_import_replaces_the_content_of_a_collection(commands: Commands, home: Path) -> None:
    commands.service.answer({"number_of_images": 2, "message": ""})
    ended = await commands.run("import", csv(home), "--collection", "7", "--json")
    assert ended.json == {"id": 7, "number_of_images": 2, "warnings": []}
    assert [request.path for request in commands.service.received] == ["/api/collection/7/updatecontent"]


async def test_a_collection_whose_csv_is_refused_is_not_left_behind(commands: Commands, home: Path) -> None:
    commands.service.answer({"names": []})
    commands.service.answer({"id": 4, "message": ""})
    commands.service.refuse(400, "invalid_csv")
    commands.service.answer({"message": "Collection deleted"})
    ended = await commands.run("import", csv(home), "--name", "coins")
    assert (ended.status, ended.errors) == (1, "similis: invalid_csv happened (invalid_csv)\n")
    assert commands.service.received[-1].path == "/api/collection/4/delete"


async def test_import_creates_no_second_collection_of_a_name(commands: Commands, home: Path) -> None:
    commands.service.answer(NAMES)
    ended = await commands.run("import", csv(home), "--name", "coins")
    assert ended.status == 1
    assert "--collection 1" in ended.errors
    assert len(commands.service.received) == 1


async def test_import_of_a_folder_says_how_to_publish_it(commands: Commands, home: Path) -> None:
    ended = await commands.run("import", str(home), "--name", "coins")
    assert ended.status == 2
    assert f"python3 -m http.server 8000 --bind 127.0.0.1 --directory {home}" in ended.errors
    assert "similis up --allow-private-addresses" in ended.errors
    assert commands.service.received == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "absent.csv", "--name", "coins"),
        ("import", "CSV"),
        ("import", "CSV", "--name", "coins", "--collection", "1"),
        ("search",),
        ("search", "photo.jpg", "--text", "coin"),
        ("search", "photo.jpg", "--region", "1,2,3"),
        ("similar", "5"),
        ("similar", "--collection", "1"),
        ("images", "add", "1"),
        ("images",),
        ("delete", "1"),
        ("list", "--url", "example.org"),
        ("unknown",),
        (),
    ],
)
async def test_wrong_usage_changes_nothing(commands: Commands, home: Path, arguments: tuple[str, ...]) -> None:
    commands.service.answer(DONE)
    given = [csv(home) if argument == "CSV" else argument for argument in arguments]
    assert (await commands.run(*given)).status == 2
    assert [request.method for request in commands.service.received if request.method != "GET"] == []


async def test_a_finetune_that_fails_has_its_own_status(commands: Commands) -> None:
    commands.service.answer(STARTED)
    failure = {"code": "no_images_indexed", "message": "No image could be read."}
    commands.service.answer(INFO | {"finetuning_state": "failed", "finetuning_error": failure})
    ended = await commands.run("finetune", "1", "--watch")
    assert (ended.status, ended.errors) == (5, "similis: No image could be read. (no_images_indexed)\n")


async def test_a_finetune_is_only_started_without_watch(commands: Commands) -> None:
    commands.service.answer(STARTED)
    ended = await commands.run("finetune", "1", "--force")
    assert ended.output.splitlines() == ["Model finetuning started", "To follow it: similis status 1 --watch"]
    assert commands.service.received[0].path == "/api/collection/1/finetune?force=true"


async def test_a_watched_finetune_is_a_line_of_json_for_each_state(commands: Commands) -> None:
    commands.service.answer(RUNNING)
    commands.service.answer(DONE)
    lines = (await commands.run("status", "1", "--watch", "--json")).output.splitlines()
    assert [json.loads(line)["finetuning_state"] for line in lines] == ["running", "done"]


async def test_progress_has_phases_on_a_terminal(commands: Commands, terminal: Terminal) -> None:
    terminal()
    commands.service.answer(RUNNING | {"finetuning_counts": {"done": 1, "total": 2}, "finetuning_seconds_left": 150})
    commands.service.answer(RUNNING | {"finetuning_phase": "indexing", "finetuning_progess": 90.0})
    commands.service.answer(DONE)
    ended = await commands.run("status", "1", "--watch")
    assert ended.status == 0
    assert "Finetuning coins" in ended.errors
    assert "Downloading and embedding images" in ended.errors
    assert "Building the index" in ended.errors
    assert "2 of 2" in ended.errors


async def test_results_of_a_text_have_percentiles(commands: Commands) -> None:
    commands.service.answer(ONE)
    found = RESULT | {"score": 0.2512, "percentile": 99.7, "false_match_rate": None}
    commands.service.answer({"results": [found], "index_id": 1})
    ended = await commands.run("search", "--text", "a red coin")
    assert ended.output == "0.2512\t99.7\t5\thttps://example.org/1.jpg\t1\n"
    assert json.loads(commands.service.received[-1].body) == {"text": "a red coin", "num_results": 10}


async def test_the_only_collection_is_searched(commands: Commands, home: Path) -> None:
    image = home / "photo.jpg"
    image.write_bytes(b"jpeg")
    commands.service.answer(ONE)
    commands.service.answer({"results": [RESULT | {"false_match_rate": 0.012}], "index_id": 1, "warnings": ["Old."]})
    ended = await commands.run("search", str(image), "--region", "0,0.5,1,0.5", "--top", "3", "--by-entry")
    assert (ended.output, ended.errors) == ("1.0000\t1.2%\t5\thttps://example.org/1.jpg\t1\n", "warning: Old.\n")
    request = commands.service.received[-1]
    assert request.path == "/api/collection/1/search"
    assert json.loads(request.body) == {
        "image": "anBlZw==",
        "region": {"x": 0, "y": 0.5, "width": 1, "height": 0.5},
        "num_results": 3,
        "group_by": "repo_url",
    }


async def test_all_collections_are_searched_for_a_url(commands: Commands) -> None:
    commands.service.answer(NAMES)
    skipped = [{"collection_id": 2, "code": "not_finetuned", "detail": "Not finetuned."}]
    commands.service.answer({"results": [RESULT | {"collection_id": 1}], "skipped": skipped})
    ended = await commands.run("search", "https://example.org/q.jpg")
    assert ended.output == "1.0000\t\t1\t5\thttps://example.org/1.jpg\t1\n"
    assert ended.errors == "warning: collection 2 was not searched: Not finetuned.\n"
    request = commands.service.received[-1]
    assert (request.path, json.loads(request.body)) == (
        "/api/search",
        {"image_url": "https://example.org/q.jpg", "num_results": 10},
    )


async def test_similar_asks_by_id_url_or_entry(commands: Commands) -> None:
    commands.service.answer({"results": [RESULT]})
    for arguments in (("5",), ("https://example.org/1.jpg",), ("--entry", "https://example.org/e")):
        assert (await commands.run("similar", *arguments, "-c", "1", "--top", "2")).status == 0
    queries = [request.path.partition("?")[2] for request in commands.service.received]
    assert queries == [
        "image_id=5&num_results=2",
        "image_url=https://example.org/1.jpg&num_results=2",
        "repo_url=https://example.org/e&num_results=2",
    ]


async def test_results_cannot_control_the_terminal(commands: Commands, terminal: Terminal) -> None:
    terminal()
    commands.service.answer({"results": [RESULT | {"repo_url": "\x1b]0;title\x07[red]entry"}]})
    ended = await commands.run("similar", "5", "-c", "1")
    assert "\x1b" not in ended.output
    assert "[red]entry" in ended.output


async def test_failures_are_listed(commands: Commands) -> None:
    failure = {"image_url": "u", "repo_url": "r", "reason": "not_found", "detail": "404"}
    commands.service.answer({"failures": [failure, failure], "next": None})
    assert (await commands.run("failures", "1", "--limit", "1")).output == "u\tr\tnot_found\t404\n"
    assert len((await commands.run("failures", "1", "--json")).json) == 2


async def test_no_failures_are_an_empty_list(commands: Commands) -> None:
    commands.service.answer({"failures": [], "next": None})
    assert (await commands.run("failures", "1", "--json")).json == []


async def test_duplicates_are_listed_by_group(commands: Commands) -> None:
    images = [{"image_id": number, "image_url": "u", "repo_url": "r"} for number in (1, 2)]
    group = {"group": 3, "kind": "copy", "score": 0.97, "number_of_images": 2, "number_of_entries": 1, "images": images}
    commands.service.answer({"duplicates": [group], "number_of_groups": 1, "searched": True, "next": None})
    assert (await commands.run("duplicates", "1")).output == "3\tcopy\t0.97\t1\tu\tr\n3\tcopy\t0.97\t2\tu\tr\n"


async def test_duplicates_that_were_not_searched_for_are_a_warning(commands: Commands) -> None:
    commands.service.answer({"duplicates": [], "searched": False, "warnings": ["Not finetuned."], "next": None})
    listed = await commands.run("duplicates", "1")
    assert (listed.output, listed.errors) == ("", "warning: Not finetuned.\nNo duplicates were found.\n")


async def test_images_are_listed_added_and_removed(commands: Commands, home: Path) -> None:
    image = {"image_id": 1, "image_url": "u", "repo_url": "r", "state": "failed", "reason": "timeout"}
    commands.service.answer({"images": [image], "next": None})
    assert (await commands.run("images", "list", "1", "--state", "failed")).output == "1\tfailed\tu\tr\ttimeout\n"
    commands.service.answers = []
    commands.service.answer({"image_ids": [8], "message": ""})
    added = await commands.run("images", "add", "1", "https://example.org/9.jpg", "entry 9")
    assert added.output == "Added image 8. To make it searchable: similis finetune 1\n"
    await commands.run("images", "add", "1", "--csv", csv(home))
    assert json.loads(commands.service.received[-1].body)["images"][1] == {
        "image_url": "https://example.org/2.jpg",
        "repo_url": "2",
    }
    commands.service.answers = []
    commands.service.answer({"message": "2 images removed"})
    assert (await commands.run("images", "remove", "1", "8", "9")).output == "2 images removed\n"
    assert json.loads(commands.service.received[-1].body) == {"image_ids": [8, 9]}


async def test_export_writes_the_bytes_of_the_content(commands: Commands, home: Path) -> None:
    commands.service.answer({})
    commands.service.answers[0].body = "https://example.org/ä.jpg;1\r\n".encode()
    assert (await commands.run("export", "1")).output == "https://example.org/ä.jpg;1\r\n"
    await commands.run("export", "1", "--output", str(home / "out.csv"))
    assert (home / "out.csv").read_bytes() == commands.service.answers[0].body


async def test_delete_needs_a_yes(commands: Commands) -> None:
    commands.service.answer(INFO)
    refused = await commands.run("delete", "1")
    assert (refused.status, "needs --yes" in refused.errors) == (2, True)
    assert [request.method for request in commands.service.received] == ["GET"]
    commands.service.answer({"message": "Collection deleted"})
    ended = await commands.run("delete", "1", "--yes")
    assert (ended.status, ended.output) == (0, "Collection deleted\n")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "collection_not_found", 1),
        (413, "too_large", 1),
        (403, "forbidden", 3),
        (500, "internal", 4),
        (502, "heidicon_unavailable", 4),
        (507, "no_space", 4),
    ],
)
async def test_each_error_has_its_status(commands: Commands, status: int, code: str, expected: int) -> None:
    commands.service.refuse(status, code)
    ended = await commands.run("status", "1")
    assert (ended.status, ended.output) == (expected, "")
    assert ended.errors.startswith(f"similis: {code} happened")
    assert ("r1" in ended.errors) == (status >= 500)


async def test_a_service_that_is_not_there_is_said_in_one_line(commands: Commands) -> None:
    ended = await commands.run("list", "--url", "http://127.0.0.1:1")
    assert ended.status == 4
    assert ended.errors == (
        "similis: http://127.0.0.1:1 could not be reached: Connection refused. "
        "Set the address with 'similis login', --url or SIMILIS_URL.\n"
    )


async def test_an_absent_file_is_said_in_one_line(commands: Commands) -> None:
    commands.service.answer(ONE)
    ended = await commands.run("search", "absent.jpg")
    assert (ended.status, ended.errors) == (1, "similis: absent.jpg: No such file or directory\n")


SOURCE = {"type": "oai", "url": "https://repository.example.org/oai", "metadata_prefix": "lido", "refresh": "weekly"}
READ = SOURCE | {"state": "done", "added": 2, "changed": 0, "removed": 0, "last_read": "2026-11-25T09:43:49Z"}


async def test_import_from_a_source_sends_what_was_given(commands: Commands) -> None:
    commands.service.answer({"names": []})
    commands.service.answer({"id": 1, "reading_id": 1, "message": "Collection created"})
    options = ("--oai", SOURCE["url"], "--prefix", "lido", "--refresh", "weekly", "--name", "seals")
    ended = await commands.run("import", *options)
    assert ended.status == 0, ended.errors
    assert "similis source show 1" in ended.output
    assert json.loads(commands.service.received[-1].body) == {"name": "seals", "source": SOURCE}


async def test_import_from_a_source_follows_the_reading_and_finetunes(commands: Commands) -> None:
    answers: list[dict[str, Any]] = [{"names": []}, {"id": 1, "message": ""}, {"source": READ}, STARTED, RUNNING, DONE]
    for answer in answers:
        commands.service.answer(answer)
    ended = await commands.run("import", "--iiif", "https://library.example.org/m.json", "--name", "a", "--watch")
    assert ended.status == 0, ended.errors
    assert ended.output.splitlines()[0] == "The source was read: 2 images added, 0 changed, 0 removed."


async def test_a_reading_that_failed_says_why(commands: Commands) -> None:
    error = {"code": "source_empty", "message": "The source could not be read."}
    commands.service.answer({"reading_id": 2, "message": ""})
    commands.service.answer({"source": SOURCE | {"state": "failed", "error": error}})
    ended = await commands.run("source", "read", "1", "--watch")
    assert ended.status == 1
    assert "The source could not be read. (source_empty)" in ended.errors


@pytest.mark.parametrize(("refresh", "sent"), [("weekly", "weekly"), ("never", None)])
async def test_the_schedule_of_a_source_is_changed(commands: Commands, refresh: str, sent: str | None) -> None:
    commands.service.answer({"message": "The source is read weekly."})
    ended = await commands.run("source", "schedule", "1", refresh, "--then", "finetune")
    assert ended.output.strip() == "The source is read weekly."
    assert json.loads(commands.service.received[-1].body) == {"refresh": sent, "then": "finetune"}


async def test_a_source_is_shown_with_the_records_that_brought_no_image(commands: Commands) -> None:
    failure = {"record": "oai:7", "reason": "no_image", "detail": "The record names no image."}
    commands.service.answer({"source": READ, "failure_counts": {"no_image": 1}, "failures": [failure]})
    ended = await commands.run("source", "show", "1")
    assert ended.status == 0, ended.errors
    assert "oai:7: The record names no image." in ended.output


@pytest.mark.parametrize(
    "options",
    [
        ("--iiif", "https://a.example", "--oai", "https://b.example", "--name", "a"),
        ("--oai", "https://b.example", "--name", "a"),
        ("--iiif", "https://a.example", "--set", "x", "--name", "a"),
        ("--iiif", "https://a.example"),
        ("images.csv", "--name", "a", "--refresh", "daily"),
    ],
)
async def test_options_of_a_source_that_make_no_sense_are_wrong_usage(
    commands: Commands, options: tuple[str, ...]
) -> None:
    assert (await commands.run("import", *options)).status == 2
    assert commands.service.received == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (READ, f"{SOURCE['url']}, read "),
        (SOURCE | {"state": "running"}, f"{SOURCE['url']}, being read"),
        (SOURCE, f"{SOURCE['url']}, not read yet"),
        (
            READ | {"state": "failed", "error": {"code": "source_unreachable", "message": "It did not answer."}},
            f"{SOURCE['url']}, reading failed: It did not answer. (source_unreachable)",
        ),
    ],
    ids=["read", "being read", "not read yet", "failed"],
)
async def test_status_says_where_the_content_comes_from(
    commands: Commands, source: dict[str, Any], expected: str
) -> None:
    commands.service.answer(DONE | {"source": source})
    ended = await commands.run("status", "1")
    assert ended.status == 0, ended.errors
    assert expected in " ".join(ended.output.split())
