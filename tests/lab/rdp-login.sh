#!/bin/bash
# Log on with the real FreeRDP client, on a private virtual display.
#   rdp-login.sh USER PASSWORD
# Prints one line, `RESULT SECONDS SCREENSHOT`, and exits 0, 1 or 2:
#   connected   the lab's desktop (a #1050a0 background) was seen
#   refused     xrdp's window "login failed" was seen (what PAM refused)
#   failed      the client ended, or neither came within RDP_TIMEOUT
# Environment: LAB, RDP_PORT (required); RDP_TIMEOUT seconds (60); FREERDP, the client program.
# The screenshot and the logs stay in $LAB/rdp-login.
. "$(dirname "$0")/common.sh"
[ $# = 2 ] || die "usage: LAB=FOLDER RDP_PORT=N $0 USER PASSWORD"
: "${RDP_PORT:?set RDP_PORT}"
FREERDP=${FREERDP:-$(command -v xfreerdp || command -v xfreerdp3 || echo xfreerdp)}
need Xvfb "$FREERDP" import convert
mkdir -p "$LAB/rdp-login"
STATE=$(mktemp -d "$LAB/rdp-login/XXXXXX")
trap 'stop client; stop xvfb' EXIT

mkfifo "$STATE/display"
exec 7<>"$STATE/display" # held here: what Xvfb writes before anybody reads would be lost when it closes its end
start xvfb Xvfb -displayfd 7 -screen 0 1024x768x24 -nolisten tcp -noreset # a reset would throw the client out
read -r -t 20 display <&7 || die "Xvfb did not start, see $STATE/xvfb.log"
exec 7<&-
export DISPLAY=:$display HOME=$STATE

# The colours of three points: desktop, title bar and body of xrdp's log window.
look() {
  import -window root "$STATE/now.png" 2>/dev/null || return 0
  convert "$STATE/now.png" -format '%[hex:p{900,700}] %[hex:p{300,20}] %[hex:p{200,250}]' info: 2>/dev/null
}

begun=$(date +%s%N)
start client "$FREERDP" /v:127.0.0.1:"$RDP_PORT" /u:"$1" /p:"$2" /sec:tls /cert:ignore /size:1024x768 /bpp:24 -decorations
result=failed code=2
until [ $(($(date +%s%N) - begun)) -gt $((${RDP_TIMEOUT:-60} * 1000000000)) ]; do
  case $(look) in
    1050A0*) result=connected code=0; break ;;
    *\ 0000FF*\ C0C0C0*) result=refused code=1; break ;;
  esac
  alive client || break
  sleep 0.3
done
ended=$(date +%s%N)
if [ $result = connected ]; then
  sleep 0.7 # for a picture with the terminal in it; nothing is decided by it
  look >/dev/null
fi
[ ! -e "$STATE/now.png" ] || mv "$STATE/now.png" "$STATE/$result.png"
printf '%s %d.%d %s\n' $result $(((ended - begun) / 1000000000)) $(((ended - begun) / 100000000 % 10)) "$STATE/$result.png"
exit $code
