#!/bin/sh
# Install each service into a clean folder, as its image does, and start it there with a wrong setting: it must name the
# setting and end with status 78. This takes minutes, because torch is large.
set -eu

rm -rf build/images
images=$(pwd)/build/images
sh deploy/docker/install.sh torch "$images/torch"
for service in gateway trainer embedder; do
    directory=build/images/$service
    sh deploy/docker/install.sh "$service" "$images/$service" "$([ "$service" = gateway ] || echo "$images/torch")"
    status=0
    output=$(cd "$directory" && env -i PATH=/usr/bin:/bin HOME="$(pwd)" SIMILIS_METRICS_PORT=-1 \
        ./bin/python -m "$service" 2>&1) || status=$?
    if [ "$status" -ne 78 ]; then
        echo "$service: expected status 78, got $status: $output" >&2
        exit 1
    fi
    # The embedder has none of the command's packages.
    [ "$service" = embedder ] || "$directory/bin/similis" --version
    echo "$service: $(du -sm "$directory" | cut -f 1) MB; $output"
done
