"""The names of our metrics: those that the code declares, and those that an expression uses."""

import importlib
import inspect
import re
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from servicekit.telemetry.metrics import new_registry
from tests.packages import module_name, modules

# Operators and modifiers of PromQL.
WORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "bool"}
# Declared by a function that takes the folders to watch.
OF_FUNCTIONS = {"similis_disk_free_bytes"}
# Of Kubernetes, about its objects.
OF_KUBE_STATE_METRICS = {"kube_cronjob_status_last_successful_time", "kube_cronjob_created"}


def declared() -> set[str]:
    """Return the name of every series that a process can export, with the suffixes of histograms and counters."""
    names = _names(new_registry("gateway")) | OF_FUNCTIONS | OF_KUBE_STATE_METRICS
    for path in modules():
        if path.name != "metrics.py":
            continue
        name = module_name(path)
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if kind.__module__ == name and list(inspect.signature(kind).parameters) == ["registry"]:
                declare: Callable[[CollectorRegistry], object] = kind
                registry = CollectorRegistry()
                declare(registry)
                names |= _names(registry)
    return names


def _names(registry: CollectorRegistry) -> set[str]:
    # Collectors that compute their series at each scrape have no names before.
    scraped = {sample.name for family in registry.collect() for sample in family.samples}
    return set(registry._names_to_collectors) | scraped


def asked_for(expression: str) -> set[str]:
    """Return the names of the series in a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found = re.findall(r"[A-Za-z_:][\w:]*(?![\w:]*\s*\()", bare)
    return {name for name in found if name not in WORDS}
