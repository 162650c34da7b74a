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

# Node and npm, for the phone app. Debian's are taken where there are none.
NODE_WANTED=20
has_node() {
  local version
  version=$(node --version 2>/dev/null) && version=${version#v} && [ "${version%%.*}" -ge $NODE_WANTED ] && command -v npm >/dev/null
}
need_node() {
  has_node || command -v node >/dev/null || apt_need nodejs npm
  has_node || die "the phone app is built with Node $NODE_WANTED or later and npm, which are not here (node: $(node --version 2>/dev/null || echo none)).
Install them (https://nodejs.org/en/download), or build without the app: COUNTERSIGN_NO_APP=1"
}

# build_app: build web/authenticator/dist, which goes into the program, if something that it is made of has changed.
build_app() {
  [ -z "${COUNTERSIGN_NO_APP:-}" ] || return 0
  local stamp=$ROOT/target/app-built-from was want
  want=$(cd "$ROOT/web" && find package.json package-lock.json .npmrc authenticator \( -name node_modules -o -name dist -o -name tests \) -prune \
    -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  was=$(cat "$stamp" 2>/dev/null || true)
  [ ! -e "$ROOT/web/authenticator/dist/index.html" ] || [ "$was" != "$want" ] || return 0
  need_node
  say "building the phone app"
  (
    cd "$ROOT/web"
    [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error >&2
    npm run --silent build >&2
  ) || die "the phone app was not built: the lines above say why. Without the app: COUNTERSIGN_NO_APP=1"
  mkdir -p "$ROOT/target"
  printf '%s\n' "$want" >"$stamp"
}

# build PROFILE: build the program and set BIN to it, or take the one that COUNTERSIGN_BIN names.
build() {
  BIN=${COUNTERSIGN_BIN:-}
  [ -z "$BIN" ] || return 0
  need_build_tools
  build_app
  (cd "$ROOT" && cargo build --profile "$1" --locked -p countersign)
  BIN=$ROOT/target/${1/dev/debug}/countersign
}
