"""What schemathesis has to know about the API. It loads this module itself, in its own process.

The contract answers 400 both to a request that is invalid and to one that does not fit the state of a collection, such
as a search before the first finetune. So a valid request may get 400, with the codes below.
"""

from typing import Any

import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection

Case = schemathesis.Case[Any]
# The request is valid, but what it refers to does not exist, or is not in the state for it.
STATE = {
    *("collection_not_found", "index_not_found", "revision_not_found", "heidicon_tag_unknown", "collection_empty"),
    *("not_finetuned", "not_calibrated", "backbone_changed", "empty_content", "image_not_found", "image_not_indexed"),
    *("content_is_imported", "ambiguous_delimiter", "no_source"),
    *(
        "text_not_supported",
        "text_not_indexed",
        "image_url_not_allowed",
        "thumbnails_not_served",
        "failed_precondition",
    ),
}
# A schema cannot describe the content of an encoded file, that a name must not be blank, or rules for several fields.
CONTENT = {
    *("conflicting_fields", "examples_cancel_out", "invalid_examples", "invalid_offset", "invalid_region"),
    *("invalid_image_url", "invalid_text"),
    "invalid_images",
    "invalid_source",
    "invalid_base64",
    "not_an_image",
    "decode_error",
    "image_too_slow",
    "image_missing",
    "invalid_csv",
    "invalid_form",
    "invalid_name",
}


@schemathesis.deserializer("text/csv")
def csv_text(_: Any, response: schemathesis.Response) -> str:
    """Return a CSV as text."""
    return response.text


@schemathesis.check
def valid_is_accepted(_: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """Refuse a valid request only for the state of the collection, or the content of a file."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE or response.status_code != 400:
        return
    code = response.json()["code"]
    assert code in STATE | CONTENT, f"A valid request was refused with {code}"


@schemathesis.check
def invalid_is_refused(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """Refuse an invalid request, with three exceptions.

    An invalid query of a batch gets a problem in its place.
    A query parameter of a search is ignored if the body has the same option. A body that is text has no type that could
    be wrong.
    """
    if isinstance(case.body, dict) and set(case.body) & set(case.query or ()):
        return
    is_batch = case.path.endswith("/search/batch") and response.status_code == 200
    if is_batch and any("code" in answer for answer in response.json()["answers"]):
        return
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if body and body.mode is GenerationMode.NEGATIVE and (case.media_type or "").startswith("text/"):
        return
    negative_data_rejection(ctx, response, case)
