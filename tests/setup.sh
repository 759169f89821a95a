#!/usr/bin/env bash
# Makes sure that there is what some tests drive: a Chromium, for those of the report's page, and
# Debian's libfaketime, for those in which a program's clock is wrong.
#
# No program of this project needs them, so where one cannot be had, this says so and goes on.
# Chromium's tree of libraries is too large to be unpacked beside the machine, as Prometheus is:
# they are installed, by a user who may.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive

find_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

# Older than 0.9.10, it shares memory with no way to prevent it, and a killed program leaves that
# behind.
find_faketime() {
  local path version
  path=$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' | head -n 1) || return 1
  version=$(dpkg-query -W -f '${Version}' libfaketime 2>/dev/null) || return 1
  dpkg --compare-versions "$version" ge 0.9.10 && echo "$path, $version"
}

# Installs a package unless it is found. $1: the package. $2: what needs it.
offer() {
  local found log
  if found=$("find_$1"); then
    echo "$1: $found"
    return
  fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no $1: $2 will fail until it is installed, as by: apt-get install $1" >&2
    return
  fi
  echo "installing $1 …" >&2
  if log=$(apt-get -q update 2>&1 && apt-get -qy install --no-install-recommends "$1" 2>&1) &&
    found=$("find_$1"); then
    echo "$1: $found, installed"
  else
    printf '%s\n' "$log" | tail -n 8 >&2
    echo "going on without $1: $2 will fail" >&2
  fi
}

offer chromium "the tests of the report's page"
offer faketime "the tests with wrong clocks"
