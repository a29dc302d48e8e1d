"""Pods have no more rights than they need, and network policies allow only the connections of the design."""

import ipaddress
from collections.abc import Iterator

import pytest

from tests.deploy.chart import Document, Rendered, pods, rendered

METADATA = (
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("fd00:ec2::254", "64:ff9b::a9fe:a9fe", "64:ff9b::a83f:8110"),
    # In the prefix of a site's own NAT64, which splits the IPv4 address.
    "64:ff9b:1:a9fe:a9:fe00::",
)
PRIVATE = ("10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.1.1", "fd12::1", "64:ff9b::c0a8:101", "::ffff:10.1.2.3")
PUBLIC = ("8.8.8.8", "129.206.0.1", "2001:db8::1", "64:ff9b::808:808")


def test_every_pod_meets_the_restricted_standard(release: Rendered) -> None:
    for pod in pods(release):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        if release.name != "openshift":
            assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in _ours(pod.containers):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}


def test_no_pod_has_a_token_or_service_variables(release: Rendered) -> None:
    for pod in pods(release):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
    for account in release.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_null_removes_a_field_of_the_security_context() -> None:
    flags = [part for name in ("runAsUser", "fsGroup") for part in ("--set", f"gateway.podSecurityContext.{name}=null")]
    release = rendered("minimal", *flags)
    found = {pod.owner: pod.spec["securityContext"].keys() for pod in pods(release)}
    for owner in ("Deployment/similis-gateway", "Job/similis-migrate", "Pod/similis-test", "Pod/similis-test-gateway"):
        assert {"runAsUser", "fsGroup"} & found[owner] == set()
        assert "runAsNonRoot" in found[owner]
    assert "runAsUser" in found["Deployment/similis-trainer"]


def test_every_container_has_requests_and_a_memory_limit(release: Rendered) -> None:
    for pod in pods(release):
        for container in _ours(pod.containers):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), pod.owner
            assert "memory" in container["resources"]["limits"], pod.owner
            if pod.owner.startswith("Deployment/"):
                assert "ephemeral-storage" in container["resources"]["requests"], pod.owner


def test_temporary_files_have_room_for_the_sample_of_a_trainer() -> None:
    """A sample of 100,000 vectors of the default backbone, 1,280 numbers of 2 bytes each, and its adapter."""
    pod = rendered("minimal").one("Deployment", "similis-trainer")["spec"]["template"]["spec"]
    (tmp,) = (volume for volume in pod["volumes"] if volume["name"] == "tmp")
    sample = 100_000 * 1_280 * 2
    assert int(tmp["emptyDir"]["sizeLimit"].removesuffix("Gi")) << 30 >= 2 * sample


def test_secrets_are_mounted_and_never_in_the_environment(release: Rendered) -> None:
    for pod in pods(release):
        for container in _ours(pod.containers):
            assert not [item for item in container.get("env", []) if "valueFrom" in item]
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
    for config in release.of("ConfigMap"):
        assert not [name for name in config["data"] if name in ("SIMILIS_DATABASE_URL", "SIMILIS_QDRANT_API_KEY")]


def test_every_pod_has_a_policy_for_both_directions() -> None:
    for name in ("minimal", "full", "external", "gpu"):
        release = rendered(name)
        policies = release.of("NetworkPolicy")
        for pod in pods(release):
            found = [item for item in policies if _selects(item["spec"]["podSelector"], pod.labels)]
            assert len({item["metadata"]["name"] for item in found}) == 1, pod.owner
            assert set(found[0]["spec"]["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.parametrize("flags", [(), ("trainer.allowPrivateAddresses=true", "embedder.networkPolicy.hub=true")])
def test_exceptions_are_parts_of_their_blocks(flags: tuple[str, ...]) -> None:
    """The API server refuses others, and it takes an IPv4-mapped network for an IPv4 one."""
    found = 0
    for policy in rendered("minimal", *(part for flag in flags for part in ("--set", flag))).of("NetworkPolicy"):
        for rule in policy["spec"]["egress"]:
            for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
                whole = ipaddress.ip_network(block["cidr"])
                for text in block.get("except", []):
                    part = ipaddress.ip_network(text)
                    if isinstance(part, ipaddress.IPv6Network):
                        assert part.network_address.ipv4_mapped is None, text
                    assert part.version == whole.version
                    assert part.prefixlen > whole.prefixlen
                    found += 1
    assert found > 20


@pytest.mark.parametrize("name", ["minimal", "full", "external", "gpu", "scaling"])
def test_no_pod_reaches_a_metadata_service(name: str) -> None:
    for policy in rendered(name).of("NetworkPolicy"):
        for address in METADATA:
            assert not list(_ports_open_to(policy, address)), (policy["metadata"]["name"], address)


@pytest.mark.parametrize(
    ("name", "leaving"),
    [("minimal", {"gateway", "trainer"}), ("external", {"trainer"}), ("scaling", {"gateway", "trainer"})],
)
def test_only_the_trainer_and_a_gateway_with_heidicon_leave_the_cluster(name: str, leaving: set[str]) -> None:
    for address in PUBLIC:
        found = {
            policy["metadata"]["labels"]["app.kubernetes.io/component"]
            for policy in rendered(name).of("NetworkPolicy")
            if list(_ports_open_to(policy, address))
        }
        assert found == leaving, address


def test_private_addresses_are_blocked_unless_allowed() -> None:
    closed, opened = rendered("minimal"), rendered("minimal", "--set", "trainer.allowPrivateAddresses=true")
    for address in PRIVATE:
        for policy in closed.of("NetworkPolicy"):
            assert not list(_ports_open_to(policy, address)), (policy["metadata"]["name"], address)
    trainer = opened.one("NetworkPolicy", "similis-trainer")
    assert list(_ports_open_to(trainer, "10.1.2.3"))
    assert list(_ports_open_to(trainer, "fd12::1"))
    for policy in opened.of("NetworkPolicy"):
        for address in METADATA:
            assert not list(_ports_open_to(policy, address))


def test_the_gateway_downloads_images_of_searches_only_if_that_is_allowed() -> None:
    flag, private = ("--set", "gateway.imageUrls.enabled=true"), ("--set", "trainer.allowPrivateAddresses=true")
    for flags, enabled, ports in (
        ((), "false", [443]),
        (flag, "true", [443, None]),
        ((*flag, *private), "true", [443, None]),
    ):
        chart = rendered("minimal", *flags)
        policy = chart.one("NetworkPolicy", "similis-gateway")
        assert list(_ports_open_to(policy, "8.8.8.8")) == ports
        assert list(_ports_open_to(policy, "10.1.2.3")) == ([None] if private[1] in flags else [])
        assert not any(list(_ports_open_to(policy, address)) for address in METADATA)
        settings = chart.one("ConfigMap", "similis-gateway")["data"]
        assert settings["SIMILIS_FETCH_IMAGE_URLS"] == enabled
        assert settings["SIMILIS_SERVE_THUMBNAILS"] == "false"
        assert settings["SIMILIS_ALLOW_PRIVATE_ADDRESSES"] == str(private[1] in flags).lower()


def test_the_gateway_downloads_images_for_thumbnails_only_if_that_is_allowed() -> None:
    chart = rendered("minimal", "--set", "gateway.thumbnails.enabled=true")
    assert list(_ports_open_to(chart.one("NetworkPolicy", "similis-gateway"), "8.8.8.8")) == [443, None]
    settings = chart.one("ConfigMap", "similis-gateway")["data"]
    assert (settings["SIMILIS_SERVE_THUMBNAILS"], settings["SIMILIS_FETCH_IMAGE_URLS"]) == ("true", "false")


def test_the_gateway_tells_image_hosts_the_contact_of_the_trainer_unless_it_has_its_own() -> None:
    trainers = ("--set", "trainer.settings.download_contact=me@example.org")
    for flags, contact in (
        ((), None),
        (trainers, "me@example.org"),
        ((*trainers, "--set", "gateway.settings.download_contact=you@example.org"), "you@example.org"),
    ):
        settings = rendered("minimal", *flags).one("ConfigMap", "similis-gateway")["data"]
        assert settings.get("SIMILIS_DOWNLOAD_CONTACT") == contact


def test_the_gateway_leaves_the_cluster_only_on_the_port_of_heidicon() -> None:
    policy = rendered("minimal").one("NetworkPolicy", "similis-gateway")
    assert list(_ports_open_to(policy, "8.8.8.8")) == [443]
    for url, port in {
        "http://easydb.example.org": 80,
        "https://easydb.example.org:8443/x": 8443,
        "https://[2001:db8::1]/x": 443,
        "https://[2001:db8::1]:8443": 8443,
    }.items():
        policy = rendered("minimal", "--set", f"gateway.heidicon.url={url}").one("NetworkPolicy", "similis-gateway")
        assert list(_ports_open_to(policy, "8.8.8.8")) == [port]


@pytest.mark.parametrize(("name", "prefix"), [("full", "similis"), ("odd", "similis-true")])
def test_traces_may_leave_on_the_port_of_the_collector(name: str, prefix: str) -> None:
    for component in ("gateway", "embedder", "trainer"):
        rules = rendered(name).one("NetworkPolicy", f"{prefix}-{component}")["spec"]["egress"]
        assert 4318 in [port.get("port") for rule in rules for port in rule.get("ports", [])], component


def test_dns_is_allowed_on_the_port_of_the_name_servers() -> None:
    """On OpenShift they listen on 5353 behind a Service with port 53, and policies see the port of the pod."""
    for name, port in {"minimal": 53, "openshift": 5353}.items():
        for policy in rendered(name).of("NetworkPolicy"):
            asked = [
                (item["protocol"], item["port"])
                for rule in policy["spec"]["egress"]
                for item in rule["ports"]
                if item["protocol"] == "UDP" or item.get("port") in (53, 5353)
            ]
            assert asked == [("UDP", port), ("TCP", port)], policy["metadata"]["name"]


def test_only_gateway_trainer_and_the_pods_of_helm_test_may_call_the_embedder(release: Rendered) -> None:
    callers = {"embedder": {"gateway", "trainer", "test"}, "trainer": {"gateway", "test"}}
    for policy in release.of("NetworkPolicy"):
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        if component not in callers:
            continue
        called = policy["spec"]["ingress"][0]
        assert [port["port"] for port in called["ports"]] == [{"embedder": 9001, "trainer": 9002}[component]]
        found = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in called["from"]}
        assert found == callers[component]


def test_every_call_between_components_is_allowed_on_both_sides(release: Rendered) -> None:
    policies = {
        policy["metadata"]["labels"]["app.kubernetes.io/component"]: policy["spec"]
        for policy in release.of("NetworkPolicy")
    }
    for caller, called, port in [
        ("gateway", "embedder", 9001),
        ("gateway", "trainer", 9002),
        ("trainer", "embedder", 9001),
        ("test", "gateway", 8080),
        ("test", "embedder", 9001),
        ("test", "trainer", 9002),
    ]:
        if not policies:
            continue
        labels = {"app.kubernetes.io/component": caller}
        assert any(
            {"app.kubernetes.io/component": called}.items() <= _labels(peer).items()
            and port in [item["port"] for item in rule["ports"]]
            for rule in policies[caller]["egress"]
            for peer in rule["to"]
        ), (caller, called)
        assert any(
            ("from" not in rule or any(labels.items() <= _labels(peer).items() for peer in rule["from"]))
            and port in [item["port"] for item in rule["ports"]]
            for rule in policies[called]["ingress"]
        ), (caller, called)


def _ours(containers: list[Document]) -> list[Document]:
    return [container for container in containers if container["name"] not in ("before", "beside")]


def _labels(peer: Document) -> dict[str, str]:
    labels: dict[str, str] = peer.get("podSelector", {}).get("matchLabels", {})
    return labels


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    return bool(selector["matchLabels"].items() <= labels.items())


def _ports_open_to(policy: Document, address: str) -> Iterator[int | None]:
    """Yield the ports (None: all) of an address outside the cluster that the policy's pods may connect to."""
    target = ipaddress.ip_address(address)
    if isinstance(target, ipaddress.IPv6Address) and target.ipv4_mapped is not None:
        # The kernel connects over IPv4.
        target = target.ipv4_mapped
    for rule in policy["spec"]["egress"]:
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block is None or not _inside(target, block["cidr"]):
                continue
            if not any(_inside(target, network) for network in block.get("except", [])):
                yield from (port.get("port") for port in rule.get("ports", [{}]))


def _inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    return address in ipaddress.ip_network(network)
