#!/usr/bin/env bash
# The main job, end to end: fifty control planes post 100,000 events through a webhook into a real
# NATS JetStream and a real ClickHouse, a 90-day history of a million events is loaded beside it,
# and every event of both is reconciled. Ends with the verifier's exit code.
#
# Usage: demo.sh FOLDER-OF-PROGRAMS
set -euo pipefail

programs=$(cd "$1" && pwd)
if [ "${2:-}" != inside ]; then
  runs=$(mktemp -d)
  trap 'rm -rf "$runs"' EXIT
  export AUDITSTORM_DEMO_RUNS="$runs"
  "$programs/auditstorm-sandbox" up --dir "$runs/sandbox" -- "$0" "$programs" inside
  exit
fi

step() { printf '\n== %s\n\n' "$*"; }

step "Fifty control planes post 100,000 events through the pipeline"
"$programs/auditstorm-generator" run demo --out "$AUDITSTORM_DEMO_RUNS/live"

step "A 90-day history of 1,000,000 events goes straight into the table"
"$programs/auditstorm-backfill" run demo --events 1000000 --days 90 \
  --out "$AUDITSTORM_DEMO_RUNS/history"

step "Every event of both runs is looked for"
"$programs/auditstorm-verifier" reconcile "$AUDITSTORM_DEMO_RUNS/live" "$AUDITSTORM_DEMO_RUNS/history"
