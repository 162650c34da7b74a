# shellcheck shell=bash
# Certificates for the directory labs, right ones and wrong ones. Source it after common.sh.

# certificates FOLDER: ca.pem, other-ca.pem, and NAME.pem with NAME.key for
#   server   dc1.example.test, ldap.example.test, 127.0.0.1 and ::1      dns-only   only names
#   cn-only  no subjectAltName                                           expired    server's names, until 2020
#   other    server's names, signed by the other CA
certificates() {
  local to=$1 name names='DNS:dc1.example.test,DNS:ldap.example.test,IP:127.0.0.1,IP:::1'
  mkdir -p "$to"
  for name in ca other-ca; do
    _openssl req -x509 -days 365 -subj "/CN=Lab $name" -keyout "$to/$name.key" -out "$to/$name.pem"
  done
  _certificate "$to" server ca "subjectAltName=$names"
  _certificate "$to" dns-only ca 'subjectAltName=DNS:dc1.example.test,DNS:ldap.example.test'
  _certificate "$to" cn-only ca 'basicConstraints=CA:false'
  _certificate "$to" other other-ca "subjectAltName=$names"
  _openssl req -subj /CN=127.0.0.1 -keyout "$to/expired.key" -out "$to/csr.pem"
  # `openssl ca` is the one command whose dates can be given in every version.
  : >"$to/index.txt"
  cat >"$to/ca.cnf" <<CNF
[ca]
default_ca = lab
[lab]
database = $to/index.txt
serial = $to/serial
new_certs_dir = $to
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = $names
CNF
  openssl ca -batch -config "$to/ca.cnf" -rand_serial -cert "$to/ca.pem" -keyfile "$to/ca.key" -notext \
    -startdate 20190101000000Z -enddate 20200101000000Z -in "$to/csr.pem" -out "$to/expired.pem" 2>"$to/openssl.log" ||
    { cat "$to/openssl.log" >&2; die "openssl ca"; }
  chmod 600 "$to"/*.key
}
_openssl() { openssl "$@" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes 2>/dev/null || die "openssl $1"; }
_certificate() {
  _openssl req -subj /CN=127.0.0.1 -keyout "$1/$2.key" -out "$1/csr.pem"
  openssl x509 -req -in "$1/csr.pem" -CA "$1/$3.pem" -CAkey "$1/$3.key" -CAcreateserial -days 365 \
    -extfile <(echo "$4") -out "$1/$2.pem" 2>/dev/null || die "openssl x509"
}
