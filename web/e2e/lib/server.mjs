// The real server, with data of its own: COUNTERSIGN_BIN, or the debug build of this checkout.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import dgram from 'node:dgram';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BIN = process.env.COUNTERSIGN_BIN ?? fileURLToPath(new URL('../../../target/debug/countersign', import.meta.url));
const SECRET = 'a secret of the tests, 32 octets';
const START_MS = 20_000;

/** Starts the server. `config` is more of its countersign.toml. */
export async function startServer(config = '') {
  const data = await mkdtemp(join(tmpdir(), 'countersign-e2e-'));
  const [appPort, radiusPort] = [await freeTcpPort(), await freeUdpPort()];
  const origin = `http://localhost:${appPort}`;
  let serving = null;
  const file = [
    '[server]',
    'organization = "Example Ltd"',
    '[radius]',
    `listen = "127.0.0.1:${radiusPort}"`,
    '[app]',
    `listen = "127.0.0.1:${appPort}"`,
    `url = "${origin}"`,
    config,
  ];
  await writeFile(join(data, 'countersign.toml'), file.join('\n'));

  const server = {
    origin,
    /** Where it takes RADIUS requests. */
    radius: `127.0.0.1:${radiusPort}`,
    data,

    async start() {
      const log = [];
      const child = spawn(BIN, ['serve', '--data', data], { stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.on('data', (text) => log.push(text));
      child.stderr.on('data', (text) => log.push(text));
      const ended = new Promise((resolve) => {
        child.on('exit', resolve);
        child.on('error', (error) => resolve(log.push(String(error))));
      });
      let over = false;
      void ended.then(() => (over = true));
      const until = Date.now() + START_MS;
      while (!(await answers(appPort))) {
        if (over || Date.now() > until) {
          child.kill('SIGKILL');
          throw new Error(`the server did not start:\n${log.join('')}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      serving = { child, ended };
    },

    /** Ends the server; its data stay. */
    async stop() {
      const { child, ended } = serving;
      serving = null;
      child.kill('SIGTERM');
      await ended;
    },

    async close() {
      if (serving !== null) await server.stop();
      await rm(data, { recursive: true, force: true });
    },

    /** One command of the command line; its answer in JSON. */
    async command(...args) {
      return server.commandWith('', ...args);
    },

    async commandWith(input, ...args) {
      const { code, stdout, stderr } = await run(['--data', data, '--json', ...args], input);
      if (code !== 0) throw new Error(`countersign ${args.join(' ')}: ${stderr || stdout}`);
      return stdout.trim() === '' ? null : JSON.parse(stdout);
    },

    /** A user; without a password, the application must have checked one itself. */
    async addUser(name, displayName, password) {
      const option = password === undefined ? '--no-password' : '--password-stdin';
      await server.commandWith(`${password ?? ''}\n`, 'user', 'add', name, '--display-name', displayName, option);
    },

    async addResource(name, ...options) {
      await server.commandWith(`${SECRET}\n`, 'resource', 'add', name, '--client', '127.0.0.1', '--secret-stdin', '--primary', 'none', ...options);
    },

    async devices(user) {
      return server.command('device', 'list', user);
    },

    /** A code, an address and the text of a QR code for one device of this user. */
    async issue(user) {
      return server.command('activation', 'issue', user);
    },

    /** Begins a login; `verdict` is `accepted`, `rejected` or `no answer`. */
    login(user, ...options) {
      const args = ['radius-login', user, '--server', server.radius, '--secret-stdin', ...options];
      return run(args, `${SECRET}\n`).then(({ code, stderr }) => {
        const verdict = ['accepted', 'rejected', 'no answer'][code];
        if (verdict === undefined) throw new Error(`radius-login: ${stderr}`);
        return verdict;
      });
    },

    /** A login at a prompt, or with `state` the answer to its question: all that radius-login says. */
    async prompted(user, typed, state) {
      const args = ['radius-login', user, '--server', server.radius, '--secret-stdin', '--json'];
      if (typed !== undefined) args.push('--password-stdin');
      if (state !== undefined) args.push('--state', state);
      const { stdout, stderr } = await run(args, typed === undefined ? `${SECRET}\n` : `${SECRET}\n${typed}\n`);
      if (stdout === '') throw new Error(`radius-login: ${stderr}`);
      return JSON.parse(stdout);
    },

    /** Types a code at a login, as the only password. */
    loginWithCode(user, code) {
      const args = ['radius-login', user, '--server', server.radius, '--secret-stdin', '--password-stdin'];
      return run(args, `${SECRET}\n${code}\n`).then(({ code: exit }) => ['accepted', 'rejected', 'no answer'][exit]);
    },

  };
  try {
    await server.start();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

function run(args, input) {
  return new Promise((resolve, reject) => {
    const child = spawn(BIN, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => (stdout += text));
    child.stderr.on('data', (text) => (stderr += text));
    child.on('error', reject);
    child.on('exit', (code) => resolve({ code, stdout, stderr }));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

async function answers(port) {
  try {
    return (await fetch(`http://127.0.0.1:${port}/device/v1/server`)).ok;
  } catch {
    return false;
  }
}

function freeTcpPort() {
  return new Promise((resolve) => {
    const socket = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

function freeUdpPort() {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}
