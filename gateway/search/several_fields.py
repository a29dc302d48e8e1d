"""Read the fields of a search over several collections, and of a batch of searches."""

from collections.abc import Mapping, Sequence
from typing import Never

from gateway.http.base64_body import EACH, Path
from gateway.http.json_object import JsonObject, kind_of
from gateway.http.parameters import is_id, wrong_member
from gateway.search.question import Question
from gateway.search.question_fields import IMAGE_PATHS, question, search_warnings, sort_of
from servicekit.errors import InvalidRequest, ServiceError

MAX_COLLECTIONS = 1000
MAX_QUERIES = 64
COLLECTIONS, QUERIES = "collections", "queries"
BATCH_IMAGE_PATHS: tuple[Path, ...] = tuple((QUERIES, EACH, *path) for path in IMAGE_PATHS)


def collections(fields: JsonObject) -> list[int] | None:
    """Return the ids of the collections to search; None: all. Raises InvalidRequest, invalid_collections."""
    found = fields.get(COLLECTIONS)
    if found is None:
        return None
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_COLLECTIONS or not all(map(is_id, found)):
        problem = f"must be a list of 1 to {MAX_COLLECTIONS} ids of collections, whole numbers from 1"
        _invalid("collections", f"{problem}{wrong_member('collections', found)}. Leave it out to search all of them")
    return list(dict.fromkeys(found))


def queries(fields: JsonObject) -> list[object]:
    """Return the queries of a batch. Raises InvalidRequest, invalid_queries."""
    found = fields.get(QUERIES)
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_QUERIES:
        _invalid("queries", f"must be a list of 1 to {MAX_QUERIES} objects, not {sort_of(found)}")
    return found


def query_of_batch(
    query: object, place: int, images: Sequence[bytes], errors: Mapping[int, ServiceError]
) -> tuple[Question, list[str]]:
    """Return the question of one query of a batch, and sentences about its fields that have no meaning.

    errors: why some of the images could not be read. Raises InvalidRequest as `question`, and these errors.
    """
    if not isinstance(query, dict):
        _invalid("queries", f"must be a list of objects, but queries[{place}] is {kind_of(query)}")
    numbers = [fields.get("image") for fields in (query, *_dicts(query.get("examples")))]
    for number in numbers:
        if isinstance(number, str) and (error := errors.get(int(number))) is not None:
            raise error
    return question(query, images, {}), search_warnings(query, {})


def _dicts(found: object) -> list[JsonObject]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _invalid(name: str, problem: str) -> Never:
    raise InvalidRequest(f"{name} {problem}.", code=f"invalid_{name}")
