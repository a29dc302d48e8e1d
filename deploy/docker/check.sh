#!/bin/sh
# Does for each service what its image is built with, in a clean folder of this machine, and starts it there: a service
# without settings says which one is missing, and ends with status 78. Takes minutes: torch is large.
set -eu

for service in gateway trainer embedder; do
    directory=build/images/$service
    rm -rf "$directory"
    sh deploy/docker/install.sh "$service" "$(pwd)/$directory"
    # A port that is none, as the embedder has no setting that it must be given.
    status=0
    said=$(cd "$directory" && env -i PATH=/usr/bin:/bin HOME="$(pwd)" SIMILIS_METRICS_PORT=-1 \
        ./bin/python -m "$service" 2>&1) || status=$?
    if [ "$status" -ne 78 ]; then
        echo "$service: ended with status $status: $said" >&2
        exit 1
    fi
    echo "$service: $(du -sm "$directory" | cut -f 1) MB; $said"
done
