#!/bin/bash
# OpenLDAP on loopback, twice: one server with TLS, and one that knows none.
#   slapd.sh up | down | status | start | stop | ldif
#     stop, start  end the first server and start it again, on the same ports
#     ldif         apply the LDIF on standard input to the first server
# Settings: LAB (folder for all state). Ports are free ones, written to $LAB/slapd/environment: LDAP_PORT and LDAPS_PORT of
# the first, PLAIN_PORT of the second, REFERRAL_PORT where its referrals point to and nothing listens.
# It lets a bind with a name and no password succeed as nobody, which many servers do (RFC 4513 section 5.1.2).
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/certificates.sh"
STATE=$LAB/slapd
BASE=dc=example,dc=test
PASSWORD=Passw0rd-1
PATH=$PATH:/usr/sbin

configuration() {
  cat <<CONF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile $STATE/$1.slapd.pid
allow bind_anon_cred bind_anon_dn
sizelimit 500
referral ldap://127.0.0.1:$REFERRAL_PORT/
CONF
  [ "$1" = plain ] || cat <<CONF
TLSCACertificateFile $STATE/tls/ca.pem
TLSCertificateFile $STATE/tls/server.pem
TLSCertificateKeyFile $STATE/tls/server.key
CONF
  cat <<CONF
database mdb
suffix $BASE
rootdn cn=admin,$BASE
rootpw $PASSWORD
directory $STATE/$1
maxsize 16777216
index objectClass,uid,member,entryUUID eq
access to attrs=pwdReset by * none
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=svc,$BASE read by self read by anonymous auth by * none
limits dn.exact=cn=svc,$BASE size.prtotal=unlimited
overlay ppolicy
ppolicy_default cn=policy,$BASE
CONF
}

# person PARENT RDN UID [FURTHER LINES]
person() {
  printf 'dn: %s,%s,%s\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: Test\nuserPassword: %s\n%s\n\n' \
    "$2" "$1" "$BASE" "$3" "${5:-$3}" "$PASSWORD" "${4:-mail: $3@example.test}"
}
# policy NAME MAXIMUM-AGE
policy() {
  printf 'dn: cn=%s,%s\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: %s\n' "$1" "$BASE" "$1"
  printf 'pwdAttribute: userPassword\npwdMustChange: TRUE\npwdLockout: TRUE\npwdMaxAge: %d\n\n' "$2"
}
group() { printf 'dn: cn=%s,ou=groups,%s\nobjectClass: groupOfNames\ncn: %s\nmember: %s\n\n' "$1" "$BASE" "$1" "$2"; }

accounts() {
  local n
  cat <<LDIF
dn: $BASE
objectClass: domain
dc: example

dn: ou=people,$BASE
objectClass: organizationalUnit
ou: people

dn: ou=others,$BASE
objectClass: organizationalUnit
ou: others

dn: ou=groups,$BASE
objectClass: organizationalUnit
ou: groups

dn: ou=elsewhere,$BASE
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:$REFERRAL_PORT/ou=elsewhere,$BASE

dn: cn=svc,$BASE
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: svc
userPassword: $PASSWORD

LDIF
  policy policy 0
  policy strict 3600
  person ou=people uid=alice alice $'mail: alice@mail.test\ndisplayName: Alice'
  person ou=people uid=bob bob 'mail: alice@mail.test'
  person ou=people uid=twin twin
  person ou=others uid=twin twin
  person ou=people 'cn=Doe\, Jane' jane 'displayName: Jane Doe' 'Doe, Jane'
  person ou=people uid=mover mover
  person ou=people uid=reset reset 'pwdReset: TRUE'
  person ou=people uid=aged aged $'pwdChangedTime: 20200101000000Z\npwdPolicySubentry: cn=strict,'"$BASE"
  person ou=people uid=locked locked 'pwdAccountLockedTime: 000001010000Z'
  printf 'dn: uid=nopassword,ou=people,%s\nobjectClass: inetOrgPerson\nuid: nopassword\ncn: x\nsn: x\n\n' "$BASE"
  printf 'dn: uid=posix,ou=people,%s\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: posix\ncn: posix\nsn: x\n' "$BASE"
  printf 'userPassword: %s\nuidNumber: 1000\ngidNumber: 2000\nhomeDirectory: /\n\n' "$PASSWORD"
  printf 'dn: cn=posix-primary,ou=groups,%s\nobjectClass: posixGroup\ncn: posix-primary\ngidNumber: 2000\n\n' "$BASE"
  printf 'dn: cn=posix-other,ou=groups,%s\nobjectClass: posixGroup\ncn: posix-other\ngidNumber: 2001\nmemberUid: posix\n\n' "$BASE"
  group rdp "uid=alice,ou=people,$BASE"
  group mfa "cn=rdp,ou=groups,$BASE"
  # In each other.
  group all "cn=mfa,ou=groups,$BASE"$'\n'"member: cn=ring,ou=groups,$BASE"
  group ring "cn=all,ou=groups,$BASE"
  group other "uid=bob,ou=people,$BASE"
  # One more group in another, deeper than anybody walks.
  group deep1 "uid=twin,ou=people,$BASE"
  for n in $(seq 2 20); do group "deep$n" "cn=deep$((n - 1)),ou=groups,$BASE"; done
  for n in $(seq 600); do
    printf 'dn: uid=many%d,ou=others,%s\nobjectClass: inetOrgPerson\nuid: many%d\ncn: many\nsn: many\n\n' "$n" "$BASE" "$n"
  done
}

start_tls_server() {
  # shellcheck source=/dev/null
  . "$STATE/environment"
  start tls_server "$STATE/slapd" -d 0 -f "$STATE/tls_server.conf" \
    -h "ldap://127.0.0.1:$LDAP_PORT ldaps://127.0.0.1:$LDAPS_PORT"
  wait_tcp "$LDAPS_PORT" tls_server
}

case ${1:-} in
  up)
    need slapd slapadd openssl
    mkdir -p "$STATE/tls_server" "$STATE/plain"
    if [ ! -e "$STATE/made" ]; then
      certificates "$STATE/tls"
      LDAP_PORT=$(free_port) LDAPS_PORT=$(free_port) PLAIN_PORT=$(free_port) REFERRAL_PORT=$(free_port)
      echo "LDAP_PORT=$LDAP_PORT LDAPS_PORT=$LDAPS_PORT PLAIN_PORT=$PLAIN_PORT REFERRAL_PORT=$REFERRAL_PORT" >"$STATE/environment"
      accounts >"$STATE/accounts.ldif"
      for name in tls_server plain; do
        configuration "$name" >"$STATE/$name.conf"
      done
      slapadd -q -f "$STATE/tls_server.conf" -l "$STATE/accounts.ldif" >"$STATE/slapadd.log" 2>&1 ||
        { tail -n 20 "$STATE/slapadd.log" >&2; die "slapadd"; }
      # Where AppArmor guards the installed program, it may not read our folder; a copy may.
      cp "$(command -v slapd)" "$STATE/slapd"
      touch "$STATE/made"
    fi
    start_tls_server
    start plain "$STATE/slapd" -d 0 -f "$STATE/plain.conf" -h "ldap://127.0.0.1:$PLAIN_PORT"
    wait_tcp "$PLAIN_PORT" plain
    cat "$STATE/environment" ;;
  down) mkdir -p "$STATE"; for name in tls_server plain; do stop "$name"; done ;;
  status) for name in tls_server plain; do alive "$name" && echo "$name up" || echo "$name down"; done ;;
  start) start_tls_server ;;
  stop) stop tls_server ;;
  ldif)
    need ldbmodify
    # shellcheck source=/dev/null
    . "$STATE/environment"
    ldbmodify -H "ldap://127.0.0.1:$LDAP_PORT" --simple-bind-dn="cn=admin,$BASE" --password="$PASSWORD" ;;
  *) die "usage: $0 up|down|status|start|stop|ldif" ;;
esac
