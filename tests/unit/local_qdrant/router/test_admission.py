"""Requests under way are bounded in bytes."""

import pytest

from local_qdrant.protocol.status import Code, StatusError
from local_qdrant.router.admission import Admission


def test_a_request_that_does_not_fit_beside_others_is_refused_until_they_are_done() -> None:
    admission = Admission(100)
    with admission.admit(60):
        with pytest.raises(StatusError) as refused, admission.admit(41):
            pass
        with admission.admit(40):
            pass
    with admission.admit(100):
        pass
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


def test_a_request_that_fails_makes_room() -> None:
    admission = Admission(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="failed"), admission.admit(100):
            raise ValueError("failed")
