"""What the dashboard shows, from what an operator asks first to what is asked last."""

from deploy.grafana.panel import Panel, Query, Row

SEARCH = 'http_route="/api/collection/{id}/search", *'
RATE = "$__rate_interval"
BAD = 'http_response_status_code=~"5..|429"'


def quantiles(metric: str, labels: str = "*", by: str = "") -> list[Query]:
    """The median, the 95th and the 99th percentile of a histogram, by a label if one is given."""
    grouping, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return [
        Query(
            f"histogram_quantile({quantile}, sum by ({grouping}) (rate({metric}_bucket{{{labels}}}[{RATE}])))",
            f"p{quantile * 100:.0f}{legend}",
        )
        for quantile in (0.5, 0.95, 0.99)
    ]


def means(metric: str, by: str) -> list[Query]:
    """The mean of a histogram, by a label."""
    total = f"sum by ({by}) (rate({metric}_sum{{*}}[{RATE}]))"
    return [Query(f"{total} / sum by ({by}) (rate({metric}_count{{*}}[{RATE}]))", f"{{{{{by}}}}}")]


def mean(metric: str, legend: str) -> Query:
    """The mean of a histogram over everything."""
    return Query(f"sum(rate({metric}_sum{{*}}[{RATE}])) / sum(rate({metric}_count{{*}}[{RATE}]))", legend)


def rates(metric: str, by: str, labels: str = "*") -> list[Query]:
    """Per second, by labels."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return [Query(f"sum by ({by}) (rate({metric}{{{labels}}}[{RATE}]))", legend)]


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
            "Failed or turned away",
            [
                Query(
                    f"(sum(rate(http_server_request_duration_seconds_count{{{BAD}, {SEARCH}}}[{RATE}])) or vector(0))"
                    f" / sum(rate(http_server_request_duration_seconds_count{{{SEARCH}}}[{RATE}]))"
                )
            ],
            kind="stat",
            description="5xx and 429. Promised: at most 0.1 % within 30 days.",
            unit="percentunit",
            width=6,
            height=4,
            worry=0.001,
            alarm=0.0144,
        ),
        Panel(
            "95 % are answered within",
            quantiles("http_server_request_duration_seconds", SEARCH)[1:2],
            kind="stat",
            description="Promised: 99 % within a second.",
            unit="s",
            width=6,
            height=4,
            worry=0.5,
            alarm=1,
        ),
        Panel(
            "Requests under way",
            [Query("sum(http_server_active_requests{*})")],
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
        Panel("Time to answer a search", quantiles("http_server_request_duration_seconds", SEARCH), unit="s", alarm=1),
        Panel(
            "Where the time goes (mean)",
            means("similis_search_stage_duration_seconds", "stage"),
            description="Stages follow each other: index, queue, embed, query, rows.",
            unit="s",
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
            "Oldest in the queue",
            [Query("max(similis_jobs_oldest_queued_seconds{*})")],
            kind="stat",
            unit="s",
            width=6,
            height=4,
            worry=1800,
            alarm=3600,
        ),
        Panel(
            "Longest without progress",
            [Query("max(similis_job_oldest_progress_seconds{*})")],
            kind="stat",
            unit="s",
            width=6,
            height=4,
            worry=600,
            alarm=1800,
        ),
        Panel(
            "Leases that ran out",
            [Query("max(similis_jobs_lease_expired{*})")],
            kind="stat",
            width=6,
            height=4,
            alarm=1,
        ),
        Panel("Jobs by state", [Query("max by (state) (similis_jobs{*})", "{{state}}")]),
        Panel(
            "Jobs that ended, per hour",
            [Query("sum by (outcome) (increase(similis_trainer_jobs_total{*}[1h]))", "{{outcome}}")],
        ),
        Panel("Time of a phase (mean)", means("similis_trainer_phase_duration_seconds", "phase"), unit="s"),
        Panel("Images by outcome", rates("similis_trainer_images_total", "outcome"), unit="cps", stacked=True),
        Panel(
            "Images that failed, by reason",
            rates("similis_trainer_image_failures_total", "reason"),
            description="docs/operations.md says what each reason means.",
            unit="cps",
            stacked=True,
        ),
        Panel(
            "Downloaded",
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
            "Wait for a worker (p95)",
            quantiles("embedder_queue_wait_seconds", by="lane")[1:2],
            unit="s",
            width=9,
            alarm=0.5,
        ),
        Panel("Images that wait", [Query("sum by (lane) (embedder_queue_items{*})", "{{lane}}")], width=6),
        Panel("Bytes that wait", [Query("sum by (lane) (embedder_queue_bytes{*})", "{{lane}}")], unit="bytes", width=6),
        Panel(
            "Time of each step (mean)",
            [
                mean("embedder_decode_seconds", "decode an image"),
                mean("embedder_copy_seconds", "copy a batch"),
                mean("embedder_forward_seconds", "forward pass"),
            ],
            unit="s",
            width=6,
        ),
        Panel(
            "Images of a forward pass (mean)",
            [mean("embedder_batch_size", "images")],
            width=6,
        ),
        Panel(
            "Workers that ended, and images tried again, per hour",
            [
                Query("sum by (reason) (increase(embedder_worker_ends_total{*}[1h]))", "{{reason}}"),
                Query("sum(increase(embedder_retries_total{*}[1h]))", "tried again"),
            ],
            width=24,
            height=6,
        ),
    ),
)

STORES = Row(
    "What is stored",
    (
        Panel(
            "Upstreams that answer",
            [Query("min by (upstream) (similis_upstream_up{*})", "{{upstream}}")],
            kind="stat",
            description="1: every process that asks gets an answer.",
            width=12,
            height=4,
            alarm=1,
            falling=True,
        ),
        Panel("Collections", [Query("max(similis_collections{*})")], kind="stat", width=4, height=4),
        Panel("Images", [Query("max(similis_images{*})")], kind="stat", width=4, height=4),
        Panel("Images that can be searched", [Query("max(similis_index_images{*})")], kind="stat", width=4, height=4),
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
            "Age of what the database said",
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
    "Requests between the parts",
    (
        Panel(
            "API by route and status",
            rates(
                "http_server_request_duration_seconds_count",
                "http_route, http_response_status_code",
                'http_route=~"/api/.*", *',
            ),
            unit="reqps",
        ),
        Panel("Uploads: time of a stage (mean)", means("similis_upload_stage_duration_seconds", "stage"), unit="s"),
        Panel(
            "Removed by the janitor, per hour",
            [Query("sum by (kind) (increase(similis_trainer_janitor_removed_total{*}[1h]))", "{{kind}}")],
        ),
        Panel(
            "RPCs that failed, as servers see them",
            rates(
                "rpc_server_duration_seconds_count", "rpc_method, rpc_grpc_status_code", 'rpc_grpc_status_code!="OK", *'
            ),
            unit="reqps",
        ),
        Panel(
            "RPCs that failed, as clients see them",
            rates(
                "rpc_client_duration_seconds_count", "rpc_method, rpc_grpc_status_code", 'rpc_grpc_status_code!="OK", *'
            ),
            unit="reqps",
        ),
        Panel(
            "RPCs as clients see them (p95)", quantiles("rpc_client_duration_seconds", by="rpc_method")[1:2], unit="s"
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel("Processors in use", rates("process_cpu_seconds_total", "job, service, instance"), unit="short"),
        Panel("Memory", [Query("process_resident_memory_bytes{*}", "{{job}} {{service}} {{instance}}")], unit="bytes"),
        Panel("Open files", [Query("process_open_fds{*}", "{{job}} {{service}} {{instance}}")]),
        Panel(
            "Starts, per hour",
            [
                Query(
                    "sum by (job, service, instance) (changes(process_start_time_seconds{*}[1h]))",
                    "{{job}} {{service}} {{instance}}",
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
