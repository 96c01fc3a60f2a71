#!/bin/sh
# Write one backup of the database and the files into a folder, and keep the newest fourteen.
set -eu
folder=$1
name=$(date -u +%Y-%m-%dT%H-%M-%SZ)
flask=${FLASK:-/srv/shop/venv/bin/flask}

umask 077
mkdir -p "$folder"
"$flask" convex backup "$folder/$name.db" --files "$folder/$name-files.db"
# A backup counts once both copies are there: the name of the first is the older one.
ls "$folder" | grep -- '-files\.db$' | sort -r | tail -n +15 | while read -r old; do
    rm -f "$folder/$old" "$folder/${old%-files.db}.db"
done
