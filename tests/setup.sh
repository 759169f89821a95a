#!/usr/bin/env bash
# Installs the programs that some tests need: Chromium, for the tests of the report's page, and
# Debian's libfaketime, for the tests in which a program's clock is wrong.
#
# No program of this project needs them. So if one cannot be installed, this script says so and goes
# on. Chromium needs too many libraries to be unpacked into a folder, as is done with Prometheus. So
# packages are installed on the machine, if the user may do that.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive

find_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

# Versions before 0.9.10 share memory in a way that cannot be turned off, and a program that is
# killed leaves that memory behind.
find_faketime() {
  local path version
  path=$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' | head -n 1) || return 1
  version=$(dpkg-query -W -f '${Version}' libfaketime 2>/dev/null) || return 1
  dpkg --compare-versions "$version" ge 0.9.10 && echo "$path, $version"
}

# Installs a package, unless it is already there. $1: the package. $2: what needs it.
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
