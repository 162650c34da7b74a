#!/bin/bash
# A real xrdp host on loopback with its own users, PAM stack and configuration.
#   xrdp.sh up | down | status
# Environment:
#   LAB            folder for all state                            (required)
#   RDP_RADIUS     ADDR:PORT of the RADIUS server that PAM asks     (none: pam_unix)
#   RDP_SECRET     file holding the shared secret, one line
#   RDP_WAIT       seconds that PAM waits for an answer             (60)
#   RDP_SOURCE     loopback address that the requests come from     (127.0.0.1)
#   RDP_USERS      "name[:password] ...": accounts of the host; a password is only for pam_unix   (alice)
#   RDP_PORT       port for RDP clients, SESMAN_PORT xrdp's inner one (free ones)
#   RDP_DESKTOP    program shown as the desktop                     (blue, with one terminal)
# Prints the RDP port.
#
# Needs root. Nothing in /etc is changed, and in /run only an empty /run/xrdp may be made: the daemons run in a mount namespace where /etc/passwd, shadow and group,
# /etc/pam.d/xrdp-sesman, /etc/xrdp/sesman.ini and /run/xrdp are bind mounts of files under $LAB/xrdp.
#
# Works with xrdp 0.9 and 0.10. pam_radius_auth 2.0.0 sends no Message-Authenticator: its resource needs
# --no-require-message-authenticator; 3.0.0 sends it.
. "$(dirname "$0")/common.sh"
STATE=$LAB/xrdp
PORTS=$STATE/ports

users() {
  local entry name password uid=21000
  for entry in ${RDP_USERS:-alice}; do
    name=${entry%%:*}
    password='*'
    [ "$name" = "$entry" ] || password=$(openssl passwd -6 "${entry#*:}")
    echo "$name:x:$uid:$uid::$STATE/home/$name:/bin/bash" >>"$STATE/etc/passwd.own"
    echo "$name:x:$uid:" >>"$STATE/etc/group.own"
    echo "$name:$password:20000:0:99999:7:::" >>"$STATE/etc/shadow.own"
    mkdir -p "$STATE/home/$name"
    chown "$uid:$uid" "$STATE/home/$name"
    uid=$((uid + 1))
  done
  # Ours first: the first match wins where the machine has accounts of the same names.
  local file
  for file in passwd group shadow; do
    cat "$STATE/etc/$file.own" "/etc/$file" >"$STATE/etc/$file"
    rm "$STATE/etc/$file.own"
  done
  chmod 600 "$STATE/etc/shadow"
}

pam() {
  if [ -z "${RDP_RADIUS:-}" ]; then
    printf '%s required pam_unix.so\n' auth account session password >"$STATE/etc/pam"
    return
  fi
  (
    umask 077
    echo "$RDP_RADIUS $(cat "$RDP_SECRET") ${RDP_WAIT:-60} ${RDP_SOURCE:-}" >"$STATE/etc/pam_radius.conf"
  )
  # As docs/guide/xrdp.md says: one line of the package's file is another. requisite, so that nothing is asked after a refusal.
  sed "s#^@include common-auth\$#auth requisite pam_radius_auth.so conf=$STATE/etc/pam_radius.conf#" \
    /etc/pam.d/xrdp-sesman >"$STATE/etc/pam"
  grep -q pam_radius_auth "$STATE/etc/pam" || die "/etc/pam.d/xrdp-sesman has no line @include common-auth"
}

desktop() {
  if [ -n "${RDP_DESKTOP:-}" ]; then
    printf '#!/bin/sh\nexec %s\n' "$RDP_DESKTOP"
  else
    # The colour is what rdp-login.sh looks for.
    cat <<'WM'
#!/bin/sh
xsetroot -solid '#1050a0'
exec xterm -geometry 60x12+60+60 -fa Monospace -fs 14 -e sh -c 'echo "DESKTOP OF $USER"; exec sleep 100000'
WM
  fi >"$STATE/etc/startwm.sh"
  chmod 755 "$STATE/etc/startwm.sh"
}

configure() {
  rm -rf "${STATE:?}/home" "$STATE/run" # an xauth lock of a killed session would stall the next one
  mkdir -p "$STATE/etc" "$STATE/home" "$STATE/run/sockdir"
  chmod 1777 "$STATE/run/sockdir"
  # The session's user must reach the home and the sockets.
  local folder=$STATE
  while [ "$folder" != / ] && [ "$(stat -c %u "$folder")" = "$(id -u)" ] && [ ! -k "$folder" ]; do
    chmod o+x "$folder"
    folder=$(dirname "$folder")
  done
  users
  pam
  desktop
  [ -e "$STATE/etc/cert.pem" ] || openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
    -keyout "$STATE/etc/key.pem" -out "$STATE/etc/cert.pem" 2>/dev/null

  cat >"$STATE/etc/xrdp.ini" <<INI
[Globals]
ini_version=1
fork=true
port=tcp://127.0.0.1:$RDP_PORT
security_layer=tls
crypt_level=high
ssl_protocols=TLSv1.2, TLSv1.3
certificate=$STATE/etc/cert.pem
key_file=$STATE/etc/key.pem
autorun=Xorg
allow_channels=true
max_bpp=32
use_fastpath=both
new_cursors=true
bitmap_cache=true
bitmap_compression=true
[Logging]
LogFile=$STATE/xrdp-daemon.log
LogLevel=INFO
EnableSyslog=false
[Channels]
drdynvc=true
[Xorg]
name=Xorg
lib=libxup.so
username=ask
password=ask
ip=127.0.0.1
port=-1
code=20
INI
  cat >"$STATE/etc/sesman.ini" <<INI
[Globals]
ListenAddress=127.0.0.1
ListenPort=$SESMAN_PORT
EnableUserWindowManager=false
DefaultWindowManager=$STATE/etc/startwm.sh
[Security]
AllowRootLogin=false
MaxLoginRetry=4
AlwaysGroupCheck=false
[Sessions]
X11DisplayOffset=50
MaxSessions=20
KillDisconnected=true
DisconnectedTimeLimit=0
IdleTimeLimit=0
Policy=Default
[Logging]
LogFile=$STATE/sesman-daemon.log
LogLevel=INFO
EnableSyslog=false
[Xorg]
param=/usr/lib/xorg/Xorg
param=-config
param=xrdp/xorg.conf
param=-noreset
param=-nolisten
param=tcp
param=-logfile
param=.xorgxrdp.%s.log
[Chansrv]
FuseMountName=thinclient_drives
INI
}

# xrdp 0.9 listens on the port; 0.10 on a socket in its folder, whatever the file says.
wait_sesman() {
  for _ in $(seq 200); do
    [ -z "$(find "$STATE/run" -name 'sesman.socket' -type s)" ] || return 0
    (exec 3<>"/dev/tcp/127.0.0.1/$SESMAN_PORT") 2>/dev/null && return 0
    (exec 3<>"/dev/tcp/::1/$SESMAN_PORT") 2>/dev/null && return 0
    alive sesman || break
    sleep 0.1
  done
  tail -n 20 "$STATE"/sesman*.log >&2
  die "sesman does not listen"
}

# in_namespace CMD...: run CMD where the lab's files stand in for the machine's. One namespace for both daemons would be
# enough, but each can then be stopped for itself.
in_namespace() {
  exec unshare --mount --propagation private sh -ec '
    state=$1; shift
    etc=$state/etc
    mount --bind "$etc/passwd" /etc/passwd
    mount --bind "$etc/group"  /etc/group
    mount --bind "$etc/shadow" /etc/shadow
    mount --bind "$etc/pam"    /etc/pam.d/xrdp-sesman
    mount --bind "$etc/sesman.ini" /etc/xrdp/sesman.ini
    mount --bind "$state/run" /run/xrdp
    exec "$@"' sh "$STATE" "$@"
}

case ${1:-} in
  up)
    need xrdp xrdp-sesman openssl xterm xsetroot unshare
    [ "$(id -u)" = 0 ] || die "the xrdp host needs root (mount namespace, PAM, sessions of other users)"
    mkdir -p "$STATE"
    if alive sesman && alive xrdp; then cut -d' ' -f1 "$PORTS"; exit 0; fi
    "$0" down
    RDP_PORT=${RDP_PORT:-$(free_port)}
    SESMAN_PORT=${SESMAN_PORT:-$(free_port)}
    echo "$RDP_PORT $SESMAN_PORT" >"$PORTS"
    configure
    mkdir -p /run/xrdp # the place for the bind mount; stays empty
    start sesman "$0" _in_namespace xrdp-sesman -n -c "$STATE/etc/sesman.ini"
    wait_sesman
    start xrdp "$0" _in_namespace xrdp -n -c "$STATE/etc/xrdp.ini"
    wait_tcp "$RDP_PORT" xrdp
    echo "$RDP_PORT"
    ;;
  _in_namespace) shift; in_namespace "$@" ;;
  down)
    mkdir -p "$STATE"
    stop xrdp
    stop sesman
    ;;
  status)
    for daemon in sesman xrdp; do alive $daemon && echo "$daemon up" || echo "$daemon down"; done
    ;;
  *) die "usage: LAB=FOLDER $0 up|down|status" ;;
esac
