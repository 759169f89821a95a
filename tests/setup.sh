#!/usr/bin/env bash
# Makes sure that there is a Chromium for the tests of the report's page. They drive a real one.
#
# No program of this project needs it, so where it cannot be had, this says so and goes on. Its
# tree of libraries is too large to be unpacked beside the machine, as Prometheus is: it is
# installed, by a user who may.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if path=$(command -v "$name"); then
    echo "chromium: $path, on PATH"
    exit
  fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no chromium on PATH: the tests of the report's page will fail until it is installed," \
    "as by: apt-get install chromium" >&2
  exit
fi
echo "installing chromium …" >&2
export DEBIAN_FRONTEND=noninteractive
if log=$(apt-get -q update 2>&1 && apt-get -qy install --no-install-recommends chromium 2>&1); then
  echo "chromium: $(command -v chromium), installed"
else
  printf '%s\n' "$log" | tail -n 8 >&2
  echo "going on without chromium, which only the tests of the report's page need" >&2
fi
