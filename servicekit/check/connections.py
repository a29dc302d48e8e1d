"""Check the connection to another service of ours."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.check.findings import Check, Finding, failed, ok, service_failure
from servicekit.grpc.channel import open_channel
from servicekit.grpc.status import from_rpc_error
from servicekit.settings import TlsFiles

RESPONSE_SECONDS = 5.0


def grpc_service(name: str, target: str, service: str, tls: TlsFiles | None) -> Check:
    """Return a check that a service serves. name: what we call it. service: its full gRPC name."""

    async def check() -> Finding:
        async with open_channel(target, service=None, tls=tls) as channel:
            try:
                request = health_pb2.HealthCheckRequest(service=service)
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=RESPONSE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    variable = f"SIMILIS_{name.upper()}_ADDRESS"
                    return failed(f"The server at {target} is not a Similis {name}. Correct {variable}.")
                problem = from_rpc_error(error, upstream=name)
                problem.__cause__ = error
                return service_failure(problem, target)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            return failed(f"The {name} at {target} is not ready. Its log says why.")
        return ok(target)

    return check
