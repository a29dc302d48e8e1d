"""Why a server that is running cannot be used, in words for an operator."""

import ssl
from enum import Enum


class ConnectionFailure(Enum):
    """What is wrong. The value describes it, as a part of a sentence about the server."""

    UNKNOWN_AUTHORITY = "its certificate is not signed by an authority that is trusted here"
    EXPIRED = "its certificate has expired"
    NOT_YET_VALID = "its certificate is not valid yet"
    OTHER_NAME = "its certificate is for another name"
    NO_TLS = "it does not use TLS"
    NEEDS_TLS = "it accepts only TLS"
    OUR_CERTIFICATE_EXPIRED = "it refused our certificate, which has expired"
    OUR_CERTIFICATE_REFUSED = "it refused our certificate"
    HANDSHAKE = "the handshake failed"
    NOT_GRPC = "it does not speak gRPC"

    @property
    def is_tls(self) -> bool:
        """Whether TLS is what fails."""
        return self is not ConnectionFailure.NOT_GRPC


# OpenSSL's numbers, X509_V_ERR_*. All others have to do with the authority.
_BY_NUMBER = {
    9: ConnectionFailure.NOT_YET_VALID,
    10: ConnectionFailure.EXPIRED,
    62: ConnectionFailure.OTHER_NAME,
    64: ConnectionFailure.OTHER_NAME,
}
# What gRPC says. The first that is found counts.
_BY_WORDS = (
    ("certificate has expired", ConnectionFailure.EXPIRED),
    ("certificate is not yet valid", ConnectionFailure.NOT_YET_VALID),
    ("CERTIFICATE_VERIFY_FAILED", ConnectionFailure.UNKNOWN_AUTHORITY),
    ("Hostname Verification Check failed", ConnectionFailure.OTHER_NAME),
    ("WRONG_VERSION_NUMBER", ConnectionFailure.NO_TLS),
    ("Trying to connect an http1.x server", ConnectionFailure.NOT_GRPC),
    ("missing selected ALPN property", ConnectionFailure.NOT_GRPC),
    ("Tls handshake failed", ConnectionFailure.HANDSHAKE),
)


def failure_of(error: ssl.SSLError) -> ConnectionFailure:
    """Return what Python's TLS found wrong with the server."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_NUMBER.get(error.verify_code, ConnectionFailure.UNKNOWN_AUTHORITY)
    return ConnectionFailure.NO_TLS if error.reason == "WRONG_VERSION_NUMBER" else ConnectionFailure.HANDSHAKE


def failure_in(details: str) -> ConnectionFailure | None:
    """Return what gRPC's details of an UNAVAILABLE call say; None if they say nothing of the kind."""
    for failure in ConnectionFailure:
        if details.endswith(failure.value):
            return failure
    return next((failure for words, failure in _BY_WORDS if words in details), None)
