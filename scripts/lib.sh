# shellcheck shell=bash
# Shared by the scripts here. Source it; do not run it.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# as_root CMD...: run CMD as root, by sudo where that is needed and there.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then sudo "$@"
  else return 77
  fi
}

# The packages of "$@" that are not installed.
_missing() {
  local p
  for p; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
  done
}

# apt_need PACKAGE...: install those that are missing. No service of theirs starts, now or at the next boot: the tests
# start what they need themselves.
apt_need() {
  local missing
  missing=$(_missing "$@")
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || die "please install the equivalent of these Debian packages: $missing"
  say "installing: $missing"
  # shellcheck disable=SC2086
  as_root bash "$ROOT/scripts/apt-install" $missing || {
    [ $? = 77 ] && say "neither root nor sudo here"
    die "please install by hand: apt-get install --no-install-recommends $missing"
  }
}

# What the build needs beside Rust: a C compiler and its headers, for SQLite and the cryptography library.
need_build_tools() {
  command -v cargo >/dev/null || die "cargo not found: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml") or later"
  if ! command -v cc >/dev/null || ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
    apt_need gcc libc6-dev
  fi
}

# build PROFILE: build the program and set BIN to it, or take the one that COUNTERSIGN_BIN names.
build() {
  BIN=${COUNTERSIGN_BIN:-}
  [ -z "$BIN" ] || return 0
  need_build_tools
  (cd "$ROOT" && cargo build --profile "$1" --locked -p countersign)
  BIN=$ROOT/target/${1/dev/debug}/countersign
}
