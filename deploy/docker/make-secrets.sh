#!/bin/sh
# Makes the passwords that docker-compose.yaml reads, in the folder `secrets` beside it. What is there stays.
set -eu
umask 077

folder=$(dirname "$0")/secrets
mkdir -p "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Readable for all, in a folder that only its owner enters: containers read them as users of their own.
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
    printf '%s' "$key" | keep qdrant-api-key
    printf 'service:\n  api_key: %s\n' "$key" | keep qdrant-config.yaml
fi
