"""Answers to searches as clients get them."""

from gateway.http.json_object import JsonObject
from gateway.search.across import MergedAnswer
from gateway.search.index.nearest import SearchResult
from gateway.search.service import SearchAnswer


def described(result: SearchResult) -> JsonObject:
    """Return a result. It has `views` only if entries were asked for."""
    fields: JsonObject = dict(vars(result))
    if result.views is None:
        del fields["views"]
    return fields


def answered(answer: SearchAnswer, *, paged: bool = True) -> JsonObject:
    """Return an answer. paged: with the offset of the next results."""
    fields: JsonObject = {
        "results": [described(result) for result in answer.results],
        "index_id": answer.index_id,
    }
    if paged and answer.next_offset is not None:
        fields["next_offset"] = answer.next_offset
    return fields


def merged(answer: MergedAnswer) -> JsonObject:
    """Return the answer of several collections."""
    fields: JsonObject = {
        "results": [
            {"collection_id": found.index.collection_id, **described(found.result)} for found in answer.results
        ],
        "skipped": [
            {"collection_id": identifier, "code": error.code, "detail": error.message}
            for identifier, error in answer.skipped.items()
        ],
    }
    if answer.next_offset is not None:
        fields["next_offset"] = answer.next_offset
    return fields
