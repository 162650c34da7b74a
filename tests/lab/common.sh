# shellcheck shell=bash
# Shared by the lab scripts. Source it; do not run it.
# All state is in $LAB, a folder that the caller names. Nothing else on the machine is changed.
set -euo pipefail
: "${LAB:?set LAB to a folder for the state of the lab}"
mkdir -p "$LAB"
LAB=$(cd "$LAB" && pwd)

die() { echo "$*" >&2; exit 1; }
need() {
  local c
  for c; do command -v "$c" >/dev/null || die "missing command: $c (scripts/setup-tests installs it)"; done
}

# start NAME CMD...: run CMD in the background, its output in $STATE/NAME.log. Its pid and start time are remembered, so
# that a later `stop` never ends another process that was given the same number.
start() {
  local name=$1
  shift
  alive "$name" && return 0
  setsid "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
  echo "$! $(_started $!)" >"$STATE/$name.pid"
}
_started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
alive() {
  local pid time
  [ -s "$STATE/$1.pid" ] && read -r pid time <"$STATE/$1.pid" && [ "$(_started "$pid")" = "$time" ]
}
# A process and all that descend from it.
_tree() {
  local child
  echo "$1"
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do _tree "$child"; done
}
# Whether one of them still runs; one that has ended and waits for its parent does not.
_any() {
  local pid
  for pid; do
    case $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) in '' | Z*) ;; *) return 0 ;; esac
  done
  return 1
}
# stop NAME: end what `start NAME` started, with its descendants.
stop() {
  local pid pids
  if alive "$1"; then
    read -r pid _ <"$STATE/$1.pid"
    pids=$(_tree "$pid")
    # shellcheck disable=SC2086
    {
      kill $pids 2>/dev/null || true
      for _ in $(seq 50); do _any $pids || break; sleep 0.1; done
      kill -9 $pids 2>/dev/null || true
    }
  fi
  rm -f "$STATE/$1.pid"
}
# wait_tcp PORT NAME: until something listens on that loopback port, or NAME has ended.
wait_tcp() {
  local a
  for _ in $(seq 200); do
    for a in 127.0.0.1 ::1; do
      (exec 3<>"/dev/tcp/$a/$1") 2>/dev/null && return 0
    done
    alive "$2" || break
    sleep 0.1
  done
  tail -n 20 "$STATE/$2"*.log >&2
  die "$2 does not listen on loopback port $1"
}
# A loopback TCP port that is free now.
free_port() {
  local port
  for port in $(shuf -i 20000-32000 -n 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  die "no free port"
}
