#!/bin/sh
# Create the passwords that docker-compose.yaml reads, in the folder `secrets` beside it. Existing ones stay.
set -eu
umask 077

folder=$(dirname "$0")/secrets
mkdir -p "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# The files are readable for all, because the containers run as different users. Only the owner can enter the folder.
keep() {
    cat > "$folder/$1.new"
    chmod 0444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

if [ ! -e "$folder/database-url" ]; then
    password=$(random)
    printf '%s' "$password" | keep postgres-password
    printf 'postgresql://similis:%s@postgres:5432/similis' "$password" | keep database-url
fi
if [ ! -e "$folder/qdrant-config.yaml" ]; then
    key=$(random)
    read_only=$(random)
    printf '%s' "$key" | keep qdrant-api-key
    printf '%s' "$read_only" | keep qdrant-read-only-api-key
    printf 'service:\n  api_key: %s\n  read_only_api_key: %s\n' "$key" "$read_only" | keep qdrant-config.yaml
fi
