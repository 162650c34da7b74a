"""The servers that are compared: each is written into a directory of its own, started, watched and stopped."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

SECRET = "a secret between generator and server"
# Of 20 octets, as the keys of most authenticator apps are.
KEY = b"12345678901234567890"
KEY_BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port(kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A running program with its children."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def spawn(self, command, **more):
        log = open(self.directory / "log", "ab")
        self.spawned = time.monotonic()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **more)

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def pids(self):
        found, todo = [], [self.process.pid]
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                children.setdefault(int(stat[1]), []).append(int(entry))
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu_seconds(self):
        """User and system time of the program and its children so far."""
        ticks = 0
        for pid in self.pids():
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            ticks += sum(int(field) for field in stat[11:15])
        return ticks / TICKS

    def memory_mib(self, field="VmRSS"):
        total = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(field):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024


class FreeRadius(Server):
    """FreeRADIUS with nothing in its configuration but what the comparison needs."""

    def __init__(self, name, directory, users, mode, home=None):
        super().__init__(name, directory)
        self.users, self.mode, self.home = users, mode, home
        self.secret = SECRET

    def wait_ready(self):
        """Its answer to the first packet is when it is there."""

    def launch(self):
        getattr(self, f"_{self.mode}")()
        binary = "/usr/sbin/freeradius" if os.path.exists("/usr/sbin/freeradius") else "freeradius"
        self.spawn([binary, "-f", "-d", str(self.directory), "-n", "radiusd"])

    def _write(self, *, users="", modules="", authorize="", authenticate="", post_auth="", extra="", proxy="no"):
        here = self.directory
        (here / "users").write_text(users)
        (here / "dictionary").write_text("")
        (here / "run").mkdir(exist_ok=True)
        post_auth = f"post-auth {{\n{post_auth}\n}}" if post_auth else ""
        (here / "radiusd.conf").write_text(f"""
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = {here}
confdir = {here}
logdir = {here}
run_dir = {here}/run
pidfile = {here}/run/radiusd.pid
max_request_time = 30
cleanup_delay = 5
max_requests = 131072
hostname_lookups = no
log {{
destination = files
file = {here}/radius.log
auth = no
}}
security {{
max_attributes = 200
reject_delay = 0
status_server = yes
}}
proxy_requests = {proxy}
thread pool {{
start_servers = 5
max_servers = 32
min_spare_servers = 3
max_spare_servers = 10
max_requests_per_server = 0
}}
client generator {{
ipaddr = 127.0.0.0/8
secret = "{SECRET}"
require_message_authenticator = no
}}
{extra}
modules {{
files {{
filename = {here}/users
}}
expr {{
}}
pap {{
normalise = yes
}}
{modules}
}}
server default {{
listen {{
type = auth
ipaddr = 127.0.0.1
port = {self.port}
}}
authorize {{
{authorize}
}}
authenticate {{
{authenticate}
}}
{post_auth}
}}
""")

    def _totp(self):
        users = "".join(
            f'user{number} TOTP-Secret := "{KEY_BASE32}", Auth-Type := TOTP\n\n' for number in range(self.users)
        )
        self._write(
            users=users,
            modules="totp {\n}",
            authorize='files\nupdate request {\nTOTP-Password := "%{User-Password}"\n}',
            authenticate="Auth-Type TOTP {\ntotp\n}",
        )

    def _passwords(self):
        users = "".join(
            f'user{number} Cleartext-Password := "pw{number}-secret"\n\n' for number in range(self.users)
        )
        # countersign takes no reply for an answer that anybody on the way could have made (CVE-2024-3596).
        signed = "update reply {\nMessage-Authenticator := 0x00\n}"
        self._write(users=users, authorize="files\npap", authenticate="Auth-Type PAP {\npap\n}", post_auth=signed)

    def _database(self):
        """Users in SQLite, and a row written for each login, in a journal mode that loses nothing."""
        database = self.directory / "db.sqlite"
        for file in self.directory.glob("db.sqlite*"):
            file.unlink()
        schema = Path("/etc/freeradius/3.0/mods-config/sql/main/sqlite/schema.sql").read_text()
        rows = "".join(
            f"insert into radcheck(username, attribute, op, value) "
            f"values('user{number}', 'Cleartext-Password', ':=', 'pw{number}-secret');\n"
            for number in range(self.users)
        )
        script = f"{schema}\npragma journal_mode=wal;\nBEGIN;\n{rows}COMMIT;\n"
        subprocess.run(["sqlite3", str(database)], input=script, text=True, check=True, stdout=subprocess.DEVNULL)
        tables = " ".join(
            f'{key} = "{value}"\n'
            for key, value in {
                "radius_db": "radius", "acct_table1": "radacct", "acct_table2": "radacct",
                "postauth_table": "radpostauth", "authcheck_table": "radcheck", "groupcheck_table": "radgroupcheck",
                "authreply_table": "radreply", "groupreply_table": "radgroupreply",
                "usergroup_table": "radusergroup", "client_table": "nas", "group_attribute": "SQL-Group",
            }.items()
        )
        self._write(
            modules=f"""sql {{
dialect = "sqlite"
driver = "rlm_sql_sqlite"
sqlite {{
filename = "{database}"
busy_timeout = 2000
}}
{tables}
delete_stale_sessions = yes
read_clients = no
pool {{
start = 5
min = 3
max = 32
spare = 10
uses = 0
lifetime = 0
idle_timeout = 60
}}
$INCLUDE /etc/freeradius/3.0/mods-config/sql/main/sqlite/queries.conf
}}""",
            authorize="sql\npap",
            authenticate="Auth-Type PAP {\npap\n}",
            post_auth="sql",
        )

    def _proxy(self):
        self._write(
            authorize='update control {\nProxy-To-Realm := "home"\n}',
            authenticate="Auth-Type PAP {\npap\n}",
            proxy="yes",
            extra=f"""home_server h1 {{
type = auth
ipaddr = 127.0.0.1
port = {self.home.port}
secret = "{SECRET}"
response_window = 20
zombie_period = 40
status_check = none
}}
home_server_pool hp {{
type = fail-over
home_server = h1
}}
realm home {{
auth_pool = hp
nostrip
}}""",
        )


class Countersign(Server):
    """The program as anybody would run it: SQLite, synchronous, the audit on."""

    def __init__(self, name, directory, binaries, config=""):
        super().__init__(name, directory)
        self.binaries, self.config = binaries, config
        self.web = free_port(socket.SOCK_STREAM)
        self.secret = SECRET

    def write_config(self):
        (self.directory / "countersign.toml").write_text(
            f'[radius]\nlisten = "127.0.0.1:{self.port}"\n'
            f'[app]\nlisten = "127.0.0.1:{self.web}"\nurl = "http://localhost:{self.web}"\n{self.config}'
        )

    def launch(self):
        self.write_config()
        self.spawn([self.binaries["countersign"], "--data", str(self.directory), "serve"])

    def start(self):
        self.launch()
        self.wait_ready()

    def cpu_seconds(self):
        """To the nanosecond, for short runs; its threads live as long as it does."""
        nanoseconds = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                nanoseconds += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
        return nanoseconds / 1e9

    def wait_ready(self):
        for _ in range(600):
            if (self.directory / "admin.sock").exists() and self.run("resource", "list", check=False):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start: see {self.directory}/log")

    def run(self, *words, stdin=None, check=True):
        command = [self.binaries["countersign"], "--data", str(self.directory), *words]
        done = subprocess.run(command, input=stdin, text=True, capture_output=True)
        if check and done.returncode != 0:
            raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.returncode == 0

    def furnish(self, users):
        """Fills the database of the stopped server."""
        command = [self.binaries["furnish"], "--data", str(self.directory), "--users", str(users), "--key", KEY.decode()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class PrivacyIdea(Server):
    """privacyIDEA under gunicorn, its PINs hashed as lightly as a new server would: Argon2id, 19 MiB, two rounds."""

    def __init__(self, name, directory, venv, users):
        super().__init__(name, directory)
        self.venv, self.users = Path(venv) / "bin", users
        self.port = free_port(socket.SOCK_STREAM)

    def launch(self):
        here = self.directory.resolve()
        config = here / "pi.cfg"
        fresh = not config.exists()
        config.write_text(f"""
SUPERUSER_REALM = ['super']
SECRET_KEY = 'only for a measurement on one machine'
PI_PEPPER = 'only for a measurement'
SQLALCHEMY_DATABASE_URI = 'sqlite:///{here}/pi.db'
PI_ENCFILE = '{here}/enckey'
PI_AUDIT_KEY_PRIVATE = '{here}/private.pem'
PI_AUDIT_KEY_PUBLIC = '{here}/public.pem'
PI_LOGFILE = '{here}/pi.log'
PI_LOGLEVEL = 30
PI_HASH_ALGO_PARAMS = {{'argon2__rounds': 2, 'argon2__memory_cost': 19456, 'argon2__parallelism': 1}}
""")
        environment = {**os.environ, "PRIVACYIDEA_CONFIGFILE": str(config)}
        if fresh:
            for words in (
                ["setup", "create_enckey"], ["setup", "create_audit_keys"], ["setup", "create_tables"],
                ["admin", "add", "-p", "adminpw", "admin"],
            ):
                with open(here / "log", "ab") as log:
                    subprocess.run([self.venv / "pi-manage", *words], env=environment, check=True, stdout=log, stderr=log)
        application = (
            f"privacyidea.app:create_app(config_name='production', config_file='{config}', silent=True)"
        )
        self.spawn([str(self.venv / "gunicorn"), "-w", "2", "-b", f"127.0.0.1:{self.port}", application], cwd=here)
        self.fresh = fresh
        for _ in range(600):
            try:
                self.call("GET", "/validate/check")
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)

    def wait_ready(self):
        self.token = self.call("POST", "/auth", username="admin", password="adminpw")["result"]["value"]["token"]
        if self.fresh:
            self._fill()

    def _fill(self):
        people = self.directory.resolve() / "passwd"
        people.write_text(
            "".join(f"user{n}:x:{5000 + n}:100:User {n},,,:/home:/bin/sh\n" for n in range(self.users))
        )
        self.call("POST", "/resolver/res1", type="passwdresolver", fileName=str(people))
        self.call("POST", "/realm/bench", resolvers="res1")
        self.call("POST", "/defaultrealm/bench")
        for number in range(self.users):
            self.call(
                "POST", "/token/init", type="totp", user=f"user{number}", realm="bench", pin="pin",
                otpkey=KEY.hex(), timeStep=30, serial=f"T{number}",
            )

    def call(self, method, path, **data):
        body = json.dumps(data).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method)
        request.add_header("Content-Type", "application/json")
        if getattr(self, "token", None):
            request.add_header("Authorization", self.token)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def check(self, number, code):
        """Whether privacyIDEA takes the code."""
        form = urllib.parse.urlencode({"serial": f"T{number}", "pass": f"pin{code}"}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/validate/check", data=form)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return re.search(rb'"value": *true', answer.read()) is not None
