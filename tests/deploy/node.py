"""Run the containers of rendered pods as processes of this machine, much as a node would.

A process gets the arguments and the environment of its container, and nothing from the environment of the tests. Its
volumes are folders and its ports are free ones; both replace those of the release in arguments and variables.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.chart import Document, Rendered
from tests.deploy.environment import container_environment
from tests.ports import free_port

# A port at the end of an address, or a value that is a port.
PORT = re.compile(r"(?:(?<=:)|^)(\d{2,5})(?=$|/)")


class ProbeFailed(Exception):
    """A container did not start, or it ended."""


@dataclass
class Node:
    """A machine with a folder for volumes.

    secrets: files by Secret and key. hosts: addresses by Service.
    """

    folder: Path
    secrets: dict[str, dict[str, str]]
    hosts: dict[str, str] = field(default_factory=dict)

    def volume(self, pod: Document, name: str) -> Path:
        """Return the folder of a volume, with the files of its Secret."""
        (volume,) = (item for item in pod["volumes"] if item["name"] == name)
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        source = volume.get("secret")
        for item in (source or {}).get("items", []):
            (folder / item["path"]).write_text(self.secrets[source["secretName"]][item["key"]], encoding="utf-8")
        return folder

    async def run(self, release: Rendered, pod: Document, container: Document) -> str:
        """Run a container to its end and return its output. Raises ProbeFailed unless its status is 0."""
        process = await self._start(release, pod, container, {}, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
        finally:
            await _killed(process)
        if process.returncode != 0:
            raise ProbeFailed(f"{container['name']} ended with status {process.returncode}: {output.decode()}")
        return output.decode()

    @asynccontextmanager
    async def running(self, release: Rendered, deployment: Document) -> "AsyncIterator[RunningPod]":
        """Run the pod of a Deployment. It yields once the init containers are done and the startup probe passes."""
        pod = deployment["spec"]["template"]["spec"]
        for container in pod.get("initContainers", []):
            await self.run(release, pod, container)
        (container,) = pod["containers"]
        ports = {port["containerPort"]: free_port() for port in container["ports"]}
        process = await self._start(release, pod, container, ports)
        try:
            running = RunningPod(pod, container, ports, process)
            await running.started()
            yield running
        finally:
            await _killed(process)

    async def _start(
        self,
        release: Rendered,
        pod: Document,
        container: Document,
        ports: dict[int, int],
        output: int | None = None,
    ) -> asyncio.subprocess.Process:
        folders = {
            mount["mountPath"]: str(self.volume(pod, mount["name"])) for mount in container.get("volumeMounts", [])
        }
        environment = container_environment(release, container)
        local = {name: self._local(value, folders, ports) for name, value in environment.items()}
        program, *arguments = [self._local(argument, folders, {}) for argument in container["args"]]
        # As in an image, `similis` has the commands of the service alone.
        commands = {"python": (sys.executable,), "similis": (sys.executable, "-P", "-m", "standalone")}
        return await asyncio.create_subprocess_exec(
            *(*commands[program], *arguments),
            env={"PATH": os.defpath, "HOME": folders.get("/tmp", "/nonexistent"), **local},
            cwd="/",
            stdout=output,
            stderr=asyncio.subprocess.STDOUT if output is not None else None,
        )

    def _local(self, text: str, folders: dict[str, str], ports: dict[int, int]) -> str:
        """Replace the release's hosts, folders and ports by those of this machine."""
        for service, address in self.hosts.items():
            text = text.replace(service, address)
        for path, folder in folders.items():
            if text == path or text.startswith(f"{path}/"):
                return folder + text.removeprefix(path)
        return PORT.sub(lambda found: str(ports.get(int(found[1]), found[1])), text)


@dataclass(frozen=True)
class RunningPod:
    """A running container. `ports` maps the release's ports to those of this machine."""

    pod: Document
    container: Document
    ports: dict[int, int]
    process: asyncio.subprocess.Process

    def port(self, name: str) -> int:
        """Return the port of this machine for a named port."""
        (found,) = (port["containerPort"] for port in self.container["ports"] if port["name"] == name)
        return self.ports[found]

    async def started(self) -> None:
        """Run the startup probe as often as the release allows. Raises ProbeFailed."""
        probe = self.container["startupProbe"]
        for _ in range(probe["failureThreshold"] * 10):
            if self.process.returncode is not None:
                raise ProbeFailed(f"{self.container['name']} ended with status {self.process.returncode}")
            if await self.probe("startupProbe"):
                return
            # Faster than a kubelet, to keep the tests short.
            await asyncio.sleep(probe["periodSeconds"] / 10)
        raise ProbeFailed(f"{self.container['name']} did not start")

    async def ready(self) -> None:
        """Wait until the readiness probe passes. Raises TimeoutError."""
        await self.passes("readinessProbe")

    async def unready(self) -> None:
        """Wait until the readiness probe fails. Raises TimeoutError."""
        await self._until("readinessProbe", passes=False)

    async def passes(self, name: str) -> None:
        """Wait until a probe passes; a single slow answer does not count. Raises TimeoutError."""
        await self._until(name, passes=True)

    async def _until(self, name: str, *, passes: bool) -> None:
        async with asyncio.timeout(60):
            while await self.probe(name) != passes:  # noqa: ASYNC110 - another process decides
                await asyncio.sleep(0.02)

    async def probe(self, name: str) -> bool:
        """Return whether a probe passes now."""
        probe = self.container[name]
        if "httpGet" in probe:
            port = self.port(probe["httpGet"]["port"])
            return await _http_ok(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", probe["timeoutSeconds"])
        action = probe["grpc"]
        target = f"127.0.0.1:{self.ports[action['port']]}"
        return await _serving(target, action.get("service", ""), probe["timeoutSeconds"])

    async def stop(self) -> int:
        """Send SIGTERM and return the exit status. Raises TimeoutError after the release's grace period."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(self.pod["terminationGracePeriodSeconds"]):
            return await self.process.wait()


async def _http_ok(url: str, seconds: float) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.get(url) as answer,
        ):
            return answer.status < 400
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _serving(target: str, service: str, seconds: float) -> bool:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=seconds)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _killed(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
