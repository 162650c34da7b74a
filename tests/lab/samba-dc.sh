#!/bin/bash
# A domain controller of Active Directory, by Samba, on loopback.
#   samba-dc.sh up | down | status | start | stop | ldif
#     up           make the domain EXAMPLE (example.test) with its accounts on first use, and start it
#     stop, start  end the domain controller and start it again; its ports stay taken all the while
#     ldif         apply the LDIF on standard input
# Settings: LAB (folder for all state), LDAP_PORT and LDAPS_PORT (free ones), written to $LAB/samba/environment.
# Needs root: Samba cannot be given other ports, so it runs in a network namespace of its own, and socat carries two
# loopback ports there.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/certificates.sh"
STATE=$LAB/samba
CONF=$STATE/dc/etc/smb.conf
SAM=$STATE/dc/private/sam.ldb
REALM=EXAMPLE.TEST
BASE=DC=example,DC=test
PASSWORD=Passw0rd-1

provision() {
  samba-tool domain provision --targetdir="$STATE/dc" --server-role=dc --use-rfc2307 --dns-backend=NONE \
    --realm=$REALM --domain=EXAMPLE --host-name=dc1 --host-ip=127.0.0.1 --adminpass="Adm1n-$PASSWORD" \
    --option="interfaces=lo" --option="bind interfaces only=yes" >"$STATE/provision.log" 2>&1 ||
    { tail -n 5 "$STATE/provision.log" >&2; die "samba-tool domain provision failed"; }
  certificates "$STATE/tls"
  mkdir -p "$STATE/dc/run" "$STATE/dc/log"
  # The file that provisioning leaves names folders of the machine's own Samba.
  cat >"$CONF" <<CONF
[global]
  workgroup = EXAMPLE
  realm = $REALM
  netbios name = DC1
  server role = active directory domain controller
  server services = ldap, cldap, kdc
  interfaces = lo
  bind interfaces only = yes
  private dir = $STATE/dc/private
  lock directory = $STATE/dc
  state directory = $STATE/dc/state
  cache directory = $STATE/dc/cache
  pid directory = $STATE/dc/run
  binddns dir = $STATE/dc/bind-dns
  log file = $STATE/dc/log/log.%m
  log level = 1
  tls enabled = yes
  tls cafile = $STATE/tls/ca.pem
  tls certfile = $STATE/tls/server.pem
  tls keyfile = $STATE/tls/server.key
CONF
}

_password() { printf '"%s"' "$PASSWORD" | iconv -t UTF-16LE | base64 -w0; }
# user CN SHORT-NAME [FURTHER LINES]
user() {
  local at=${4:-CN=Users,$BASE}
  printf 'dn: CN=%s,%s\nchangetype: add\nobjectClass: user\nsAMAccountName: %s\nuserAccountControl: 512\nunicodePwd:: %s\n%s\n\n' \
    "$1" "$at" "$2" "$(_password)" "$3" | sed '/^$/N;/^\n$/D'
}
# group NAME MEMBER-DN
group() {
  printf 'dn: CN=%s,CN=Users,%s\nchangetype: add\nobjectClass: group\nsAMAccountName: %s\n' "$1" "$BASE" "$1"
  [ -z "${2:-}" ] || printf 'member: %s\n' "$2"
  echo
}

# All have the password $PASSWORD. What they are for stands in crates/directory/tests/lab.
accounts() {
  cat <<LDIF
dn: $BASE
changetype: modify
replace: pwdProperties
pwdProperties: 0
-
replace: minPwdAge
minPwdAge: 0
-
replace: lockoutThreshold
lockoutThreshold: 3
-
replace: lockoutDuration
lockoutDuration: -6000000000
-
replace: lockOutObservationWindow
lockOutObservationWindow: -6000000000

dn: OU=Staff,$BASE
changetype: add
objectClass: organizationalUnit

dn: OU=Moved,$BASE
changetype: add
objectClass: organizationalUnit

LDIF
  user 'svc-mfa' svc-mfa 'displayName: Service'
  user 'Alice Test' alice $'displayName: Alice\nuserPrincipalName: alice@example.test\nmail: alice@mail.test'
  user 'Bob Test' bob 'mail: shared@mail.test'
  user 'Carol Test' carol 'mail: shared@mail.test'
  # Has written another's name as mail address.
  user 'Mallory Test' mallory 'mail: bob@example.test'
  user 'User 43' user43 'userPrincipalName: jo.doe@other.test'
  user 'Jo Doe' jo.doe 'displayName: Jo Doe'
  user 'Doe\, Jane' jane 'displayName: Jane Doe' "OU=Staff,$BASE"
  user '\#odd \"x\" \+ y' odd 'displayName: Odd' "OU=Staff,$BASE"
  user 'Mover' mover 'userPrincipalName: mover@example.test' "OU=Staff,$BASE"
  user 'Leaver' leaver 'displayName: Leaver' "OU=Staff,$BASE"
  user 'Primary' primary 'displayName: Primary'
  user 'Disabled' disabled 'displayName: Disabled'
  user 'Expired' expired 'accountExpires: 132223104000000000'
  user 'Must Change' mustchange 'displayName: Must Change'
  user 'Locked' locked 'displayName: Locked'
  user 'Password Expired' pwexpired 'displayName: Password Expired'
  user 'Hours' hours "logonHours:: $(head -c 21 /dev/zero | base64)"
  user 'Workstation' workstation 'userWorkstations: NOWHERE'
  group GG-RDP "CN=Alice Test,CN=Users,$BASE"
  group GG-MFA "CN=GG-RDP,CN=Users,$BASE"
  group GG-All "CN=GG-MFA,CN=Users,$BASE"
  group GG-Primary "CN=Primary,CN=Users,$BASE"
  group GG-Other
  cat <<LDIF
dn: CN=Disabled,CN=Users,$BASE
changetype: modify
replace: userAccountControl
userAccountControl: 514

dn: CN=Must Change,CN=Users,$BASE
changetype: modify
replace: pwdLastSet
pwdLastSet: 0

LDIF
}
primary_group() {
  local sid
  sid=$(ldbsearch -H "$SAM" '(sAMAccountName=GG-Primary)' objectSid | sed -n 's/^objectSid: .*-//p')
  printf 'dn: CN=Primary,CN=Users,%s\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: %s\n' "$BASE" "$sid"
}

# Nobody may set this to a time of the past; the control (DSDB_CONTROL_BYPASS_PASSWORD_HASH_OID) says to let it be.
old_password() {
  printf 'dn: CN=Password Expired,CN=Users,%s\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 132223104000000000\n' "$BASE"
}

start_dc() {
  # A mount namespace as well, since Samba has fixed folders below /run.
  mkdir -p /run/samba
  # shellcheck disable=SC2016
  start dc unshare --net --mount --propagation private sh -ec '
    ip link set lo up
    mount --bind "$2" /run/samba
    exec samba --foreground --no-process-group --debug-stdout --configfile="$1"' sh "$CONF" "$STATE/dc/run"
  read -r pid _ <"$STATE/dc.pid"
  for _ in $(seq 300); do
    nsenter --target "$pid" --net ss -Hltn 2>/dev/null | grep -q ':636 ' && return
    alive dc || break
    sleep 0.1
  done
  tail -n 20 "$STATE/dc.log" >&2
  die "samba does not listen"
}

case ${1:-} in
  up)
    need samba samba-tool ldbmodify ldbsearch openssl socat ip ss nsenter unshare iconv
    [ "$(id -u)" = 0 ] || die "run as root"
    mkdir -p "$STATE"
    if [ ! -e "$STATE/made" ]; then
      provision
      accounts >"$STATE/accounts.ldif"
      {
        ldbmodify -H "$SAM" "$STATE/accounts.ldif" && primary_group | ldbmodify -H "$SAM" &&
          old_password | ldbmodify -H "$SAM" --controls=local_oid:1.3.6.1.4.1.7165.4.3.12:0
      } >"$STATE/accounts.log" 2>&1 || { tail -n 20 "$STATE/accounts.log" >&2; die "the accounts could not be made"; }
      echo "LDAP_PORT=${LDAP_PORT:-$(free_port)} LDAPS_PORT=${LDAPS_PORT:-$(free_port)}" >"$STATE/environment"
      touch "$STATE/made"
    fi
    start_dc
    # shellcheck source=/dev/null
    . "$STATE/environment"
    for way in "ldap $LDAP_PORT 389" "ldaps $LDAPS_PORT 636"; do
      read -r name from to <<<"$way"
      # The namespace is found anew for each connection: it is another one after a restart.
      start "$name" socat "TCP-LISTEN:$from,bind=127.0.0.1,reuseaddr,fork" \
        "EXEC:'sh -c \"read -r pid _ <$STATE/dc.pid && exec nsenter --target \$pid --net socat - TCP\:127.0.0.1\:$to\"'"
      wait_tcp "$from" "$name"
    done
    cat "$STATE/environment" ;;
  start) start_dc ;;
  stop) stop dc ;;
  down) mkdir -p "$STATE"; for name in ldap ldaps dc; do stop "$name"; done ;;
  status) for name in dc ldap ldaps; do alive "$name" && echo "$name up" || echo "$name down"; done ;;
  ldif) ldbmodify -H "$SAM" ;;
  *) die "usage: $0 up|down|status|start|stop|ldif" ;;
esac
