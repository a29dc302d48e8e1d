"""The rows of the dashboard, in the order in which an operator needs them."""

from deploy.grafana.panel import Panel, Query, Row

SEARCH = 'http_route="/api/collection/{id}/search", *'
RATE = "$__rate_interval"
BAD = 'http_response_status_code=~"5..|429"'
# Other programs export metrics of the same names, so expressions with them keep only processes of Similis.
OURS = "and on (namespace, release, job, instance) similis_build_info{*}"


def quantiles(metric: str, labels: str = "*", by: str = "") -> list[Query]:
    """Return the median, the 95th and the 99th percentile of a histogram, optionally by a label."""
    grouping, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return [
        Query(
            f"histogram_quantile({quantile}, sum by ({grouping}) (rate({metric}_bucket{{{labels}}}[{RATE}]) {OURS}))",
            f"p{quantile * 100:.0f}{legend}",
        )
        for quantile in (0.5, 0.95, 0.99)
    ]


def means(metric: str, by: str) -> list[Query]:
    """Return the mean of a histogram, by a label."""
    total = f"sum by ({by}) (rate({metric}_sum{{*}}[{RATE}]))"
    return [Query(f"{total} / sum by ({by}) (rate({metric}_count{{*}}[{RATE}]))", f"{{{{{by}}}}}")]


def mean(metric: str, legend: str) -> Query:
    """Return the mean of a histogram over all labels."""
    return Query(f"sum(rate({metric}_sum{{*}}[{RATE}])) / sum(rate({metric}_count{{*}}[{RATE}]))", legend)


def rates(metric: str, by: str, labels: str = "*") -> list[Query]:
    """Return a rate per second, by labels."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return [Query(f"sum by ({by}) (rate({metric}{{{labels}}}[{RATE}]) {OURS})", legend)]


SEARCHES = Row(
    "Searches",
    (
        Panel(
            "Searches per second",
            [Query(f"sum(rate(http_server_request_duration_seconds_count{{{SEARCH}}}[{RATE}]))")],
            kind="stat",
            unit="reqps",
            width=6,
            height=4,
        ),
        Panel(
            "Failed or rejected searches",
            [
                Query(
                    f"(sum(rate(http_server_request_duration_seconds_count{{{BAD}, {SEARCH}}}[{RATE}])) or vector(0))"
                    f" / sum(rate(http_server_request_duration_seconds_count{{{SEARCH}}}[{RATE}]))"
                )
            ],
            kind="stat",
            description="5xx and 429. Objective: at most 0.1 % within 30 days.",
            unit="percentunit",
            width=6,
            height=4,
            worry=0.001,
            alarm=0.0144,
        ),
        Panel(
            "Search latency (p95)",
            quantiles("http_server_request_duration_seconds", SEARCH)[1:2],
            kind="stat",
            description="Objective: 99 % within a second.",
            unit="s",
            width=6,
            height=4,
            worry=0.5,
            alarm=1,
        ),
        Panel(
            "Requests in progress",
            [Query(f"sum(http_server_active_requests{{*}} {OURS})")],
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Searches by status",
            rates("http_server_request_duration_seconds_count", "http_response_status_code", SEARCH),
            unit="reqps",
            stacked=True,
        ),
        Panel("Search latency", quantiles("http_server_request_duration_seconds", SEARCH), unit="s", alarm=1),
        Panel(
            "Search stages (mean)",
            means("similis_search_stage_duration_seconds", "stage"),
            description="In order: index, queue, embed, query, rows.",
            unit="s",
            stacked=True,
        ),
        Panel(
            "Searches at a time (limit)",
            [Query("sum(similis_search_concurrency_limit{*})", "limit")],
            description="Lower where more searches at a time would only take longer.",
        ),
        Panel("Open connections", [Query("sum(similis_connections{*})", "connections")]),
        Panel(
            "Connections closed by reason",
            rates("similis_connections_closed_total", "reason"),
            description="By the gateway: idle ones to make room, slow ones, and refused ones.",
            unit="cps",
            stacked=True,
        ),
    ),
)

FINETUNES = Row(
    "Finetunes",
    (
        Panel(
            "Queued and running",
            [Query('max by (state) (similis_jobs{state=~"queued|running", *})', "{{state}}")],
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Oldest queued job",
            [Query("max(similis_jobs_oldest_queued_seconds{*})")],
            kind="stat",
            unit="s",
            width=6,
            height=4,
            worry=1800,
            alarm=3600,
        ),
        Panel(
            "Longest time without progress",
            [Query("max(similis_job_oldest_progress_seconds{*})")],
            kind="stat",
            unit="s",
            width=6,
            height=4,
            worry=600,
            alarm=1800,
        ),
        Panel(
            "Expired leases",
            [Query("max(similis_jobs_lease_expired{*})")],
            kind="stat",
            width=6,
            height=4,
            alarm=1,
        ),
        Panel("Jobs by state", [Query("max by (state) (similis_jobs{*})", "{{state}}")]),
        Panel(
            "Finished jobs per hour",
            [Query("sum by (outcome) (increase(similis_trainer_jobs_total{*}[1h]))", "{{outcome}}")],
        ),
        Panel(
            "Finished readings of sources per hour",
            [Query("sum by (outcome) (increase(similis_trainer_readings_total{*}[1h]))", "{{outcome}}")],
        ),
        Panel(
            "Records of sources by outcome", rates("similis_trainer_records_total", "outcome"), unit="cps", stacked=True
        ),
        Panel("Phase duration (mean)", means("similis_trainer_phase_duration_seconds", "phase"), unit="s"),
        Panel("Images by outcome", rates("similis_trainer_images_total", "outcome"), unit="cps", stacked=True),
        Panel(
            "Failed images by reason",
            rates("similis_trainer_image_failures_total", "reason"),
            description="docs/operations.md explains the reasons.",
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Download rate",
            [Query(f"sum(rate(similis_trainer_downloaded_bytes_total{{*}}[{RATE}]))", "bytes")],
            unit="Bps",
        ),
    ),
)

EMBEDDER = Row(
    "Embedder",
    (
        Panel(
            "Ready",
            [Query("sum(embedder_ready{*})", "replicas"), Query("sum(embedder_workers_ready{*})", "workers")],
            kind="stat",
            width=6,
            height=8,
            alarm=1,
            falling=True,
        ),
        Panel(
            "Images by lane and outcome",
            rates("embedder_images_total", "lane, outcome"),
            unit="cps",
            width=9,
            stacked=True,
        ),
        Panel(
            "Queue wait (p95)",
            quantiles("embedder_queue_wait_seconds", by="lane")[1:2],
            unit="s",
            width=9,
            alarm=0.5,
        ),
        Panel("Queued images", [Query("sum by (lane) (embedder_queue_items{*})", "{{lane}}")], width=6),
        Panel("Queued bytes", [Query("sum by (lane) (embedder_queue_bytes{*})", "{{lane}}")], unit="bytes", width=6),
        Panel(
            "Step duration (mean)",
            [
                mean("embedder_decode_seconds", "decode an image"),
                mean("embedder_copy_seconds", "copy a batch"),
                mean("embedder_forward_seconds", "forward pass"),
            ],
            unit="s",
            width=6,
        ),
        Panel(
            "Batch size (mean)",
            [mean("embedder_batch_size", "images")],
            width=6,
        ),
        Panel(
            "Worker exits and retries per hour",
            [
                Query("sum by (reason) (increase(embedder_worker_ends_total{*}[1h]))", "{{reason}}"),
                Query("sum(increase(embedder_retries_total{*}[1h]))", "retries"),
            ],
            width=12,
            height=6,
        ),
        Panel(
            "Texts by outcome", rates("embedder_texts_total", "outcome"), unit="cps", width=6, height=6, stacked=True
        ),
        Panel(
            "Time to embed a text (mean)",
            [mean("embedder_text_seconds", "tokenize and embed")],
            unit="s",
            width=6,
            height=6,
        ),
    ),
)

STORES = Row(
    "Storage",
    (
        Panel(
            "Reachable upstreams",
            [Query("min by (upstream) (similis_upstream_up{*})", "{{upstream}}")],
            kind="stat",
            description="1: every process reaches it.",
            width=12,
            height=4,
            alarm=1,
            falling=True,
        ),
        Panel("Collections", [Query("max(similis_collections{*})")], kind="stat", width=4, height=4),
        Panel("Images", [Query("max(similis_images{*})")], kind="stat", width=4, height=4),
        Panel("Searchable images", [Query("max(similis_index_images{*})")], kind="stat", width=4, height=4),
        Panel("Lost indexes", [Query("max(similis_lost_indexes{*})")], kind="stat", width=4, height=4, alarm=1),
        Panel(
            "Free disk space",
            [Query("min by (volume) (similis_disk_free_bytes{*})", "{{volume}}")],
            unit="bytes",
            alarm=2 * 1024**3,
            falling=True,
        ),
        Panel(
            "Images over time",
            [Query("max(similis_images{*})", "in contents"), Query("max(similis_index_images{*})", "in indexes")],
        ),
        Panel(
            "Age of the catalog figures",
            [
                Query("time() - max(similis_catalog_refreshed_timestamp_seconds{*})", "seconds"),
                Query(f"sum(rate(similis_catalog_refresh_failures_total{{*}}[{RATE}]))", "failures per second"),
            ],
            unit="s",
            alarm=180,
        ),
    ),
)

REQUESTS = Row(
    "Requests between services",
    (
        Panel(
            "API requests by route and status",
            rates(
                "http_server_request_duration_seconds_count",
                "http_route, http_response_status_code",
                'http_route=~"/api/.*", *',
            ),
            unit="reqps",
        ),
        Panel("Upload stages (mean)", means("similis_upload_stage_duration_seconds", "stage"), unit="s"),
        Panel(
            "Removed by the janitor per hour",
            [Query("sum by (kind) (increase(similis_trainer_janitor_removed_total{*}[1h]))", "{{kind}}")],
        ),
        Panel(
            "Failed RPCs (server side)",
            rates(
                "rpc_server_duration_seconds_count", "rpc_method, rpc_grpc_status_code", 'rpc_grpc_status_code!="OK", *'
            ),
            unit="reqps",
        ),
        Panel(
            "Failed RPCs (client side)",
            rates(
                "rpc_client_duration_seconds_count", "rpc_method, rpc_grpc_status_code", 'rpc_grpc_status_code!="OK", *'
            ),
            unit="reqps",
        ),
        Panel(
            "RPC latency (client side, p95)", quantiles("rpc_client_duration_seconds", by="rpc_method")[1:2], unit="s"
        ),
    ),
)

# The labels that identify a process.
PROCESS = "{{job}} {{service}} {{instance}}"

PROCESSES = Row(
    "Processes",
    (
        Panel("CPU usage", rates("process_cpu_seconds_total", "job, service, instance"), unit="short"),
        Panel("Memory", [Query(f"process_resident_memory_bytes{{*}} {OURS}", PROCESS)], unit="bytes"),
        Panel("Open files", [Query(f"process_open_fds{{*}} {OURS}", PROCESS)]),
        Panel(
            "Process starts per hour",
            [
                Query(
                    f"sum by (job, service, instance) (changes(process_start_time_seconds{{*}}[1h]) {OURS})",
                    PROCESS,
                )
            ],
            width=12,
        ),
        Panel(
            "Versions",
            [Query("count by (service, version) (similis_build_info{*})")],
            kind="table",
            width=12,
        ),
    ),
)

ROWS = (SEARCHES, FINETUNES, EMBEDDER, STORES, REQUESTS, PROCESSES)
