"""The specification is consistent: its examples fit its schemas, and its problems are those of `docs/api.md`."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from aiohttp import web

from gateway.http.problems import ASK_TO_RETRY, STATUS_OF, http_problem, internal_problem, service_problem
from servicekit.version import VERSION
from tests.architecture.test_api_document import documented
from tests.specification import DOCUMENT, Node, follow, operations, validate

HTTP_ERRORS: dict[str, web.HTTPException] = {
    "route_not_found": web.HTTPNotFound(),
    "method_not_allowed": web.HTTPMethodNotAllowed("DELETE", ["GET"]),
    "unsupported_encoding": web.HTTPUnsupportedMediaType(),
}


def examples() -> Iterator[tuple[str, Node, Any]]:
    """Yield each example with its name and its schema."""
    for operation in operations():
        contents = {"body": operation.body.get("content", {})}
        contents |= {status: response.get("content", {}) for status, response in operation.responses.items()}
        for place, kinds in contents.items():
            for kind, content in kinds.items():
                for name, example in content.get("examples", {}).items():
                    yield f"{operation.id} {place} {kind} {name}", content["schema"], follow(example)["value"]
        for parameter in operation.parameters:
            for name, example in parameter["examples"].items():
                yield f"{operation.id} {parameter['name']} {name}", parameter["schema"], follow(example)["value"]


def problems() -> dict[str, Node]:
    """Return the examples of problems by code."""
    found = DOCUMENT["components"]["examples"]
    return {name: example["value"] for name, example in found.items() if "code" in example["value"]}


@pytest.mark.parametrize(("schema", "value"), [pytest.param(s, v, id=name) for name, s, v in examples()])
def test_an_example_fits_its_schema(schema: Node, value: Any) -> None:
    validate(schema, value)


def test_every_operation_has_examples_of_its_body_and_its_success() -> None:
    for operation in operations():
        contents = [*operation.body.get("content", {}).items(), *operation.responses["200"]["content"].items()]
        # The bytes of an image file, or a form with them, cannot be written in YAML.
        textual = [content for kind, content in contents if not kind.startswith(("image/", "multipart/"))]
        assert all(content.get("examples") for content in textual), operation.id


def test_every_operation_has_an_example_of_each_error() -> None:
    for operation in operations():
        for status, response in operation.responses.items():
            for content in response.get("content", {}).values():
                assert content["schema"] is not None
                if status >= "400":
                    assert content["examples"], (operation.id, status)


def test_a_problem_of_a_response_has_the_status_of_the_response() -> None:
    for operation in operations():
        for status, response in operation.responses.items():
            for content in response.get("content", {}).values():
                found = [follow(example)["value"] for example in content.get("examples", {}).values()]
                assert {value["status"] for value in found if "code" in value and status >= "400"} <= {int(status)}


def test_the_problems_are_those_of_the_document() -> None:
    assert {code: problem["status"] for code, problem in problems().items()} == documented()
    for code, problem in problems().items():
        assert (problem["code"], problem["title"]) == (code, HTTPStatus(problem["status"]).phrase)
        assert problem["detail"].startswith(problem["message"])


def test_every_problem_is_an_example_of_a_response() -> None:
    used = {code for response in DOCUMENT["components"]["responses"].values() for code in codes(response)}
    used |= {
        code for operation in operations() for response in operation.responses.values() for code in codes(response)
    }
    assert set(problems()) - used == set()


def codes(response: Node) -> set[str]:
    found = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    return set(found)


def test_answers_that_ask_for_a_retry_say_when() -> None:
    for operation in operations():
        for status, response in operation.responses.items():
            assert ("Retry-After" in response.get("headers", {})) == (int(status) in ASK_TO_RETRY), operation.id


def test_every_answer_has_a_request_id() -> None:
    for operation in operations():
        for response in operation.responses.values():
            assert "X-Request-Id" in response["headers"], operation.id


def test_the_specification_has_the_version_of_this_release() -> None:
    assert DOCUMENT["info"]["version"] == VERSION


@pytest.mark.parametrize("code", problems())
def test_the_gateway_writes_a_problem_as_in_its_example(code: str) -> None:
    example = problems()[code]
    hint = (
        None if example["detail"] == example["message"] else example["detail"].removeprefix(f"{example['message']}. ")
    )
    kinds = [kind for kind, status in STATUS_OF.items() if status == example["status"]]
    if code in HTTP_ERRORS:
        answer = http_problem(HTTP_ERRORS[code], example["message"])
    elif code == "internal":
        answer = internal_problem()
    else:
        error = kinds[0](example["message"], code=code)
        error.hint = hint
        answer = service_problem(error)
    assert isinstance(answer.body, bytes)
    assert {**json.loads(answer.body), "request_id": ""} == {**example, "request_id": ""}
