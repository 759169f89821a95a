#!/usr/bin/env bash
# The main job, end to end, by one suite on a sandbox of its own: a 90-day history of a million
# events is loaded, fifty control planes post 100,000 events through a webhook into a real NATS
# JetStream and a real ClickHouse, and every event of both is reconciled. Ends with the suite's exit
# code, and leaves its report in target/demo.
#
# Usage: demo.sh FOLDER-OF-PROGRAMS
set -euo pipefail

programs=$(cd "$1" && pwd)
place=$(cd "$(dirname "$0")/../.." && pwd)/target/demo
rm -rf "$place"
mkdir -p "$place"
trap 'rm -rf "$place/sandbox"' EXIT

"$programs/auditstorm-suite" run demo --sandbox "$place/sandbox" --out "$place/suite"
