// The lab's Remote Desktop host, whose PAM asks the server, and logons to it with FreeRDP. See tests/lab.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const LAB = fileURLToPath(new URL('../../../tests/lab/', import.meta.url));
/** One word: the file of pam_radius_auth is split at blanks. */
const SECRET = 'a-secret-of-the-xrdp-host-0123456789';
/** The end of a picture that is written completely. */
const PNG_END = Buffer.from('IEND\xaeB`\x82', 'latin1');

/** Starts an xrdp host for these users, and makes it the resource `name` of the server. `options` are more of it. Needs root. */
export async function startHost(server, name, users, ...options) {
  const lab = await mkdtemp(join(tmpdir(), 'countersign-rdp-'));
  const secret = join(lab, 'secret');
  await writeFile(secret, SECRET, { mode: 0o600 });
  await server.commandWith(
    `${SECRET}\n`,
    ...['resource', 'add', name, '--client', '127.0.0.1', '--secret-stdin', '--answer-by', '55', ...options],
    // pam_radius_auth before 3.0 sends none.
    '--no-require-message-authenticator',
  );
  const env = { ...process.env, LAB: lab, RDP_RADIUS: server.radius, RDP_SECRET: secret, RDP_USERS: users.join(' ') };
  const logons = [];
  const host = {
    /** Begins a logon with the real client. */
    async logOn(user, password) {
      const folder = join(lab, 'rdp-login');
      const before = await readdir(folder).catch(() => []);
      const child = spawn(join(LAB, 'rdp-login.sh'), [user, password], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      const done = finish(child);
      logons.push({ child, done });
      return watchLogon(folder, before, done);
    },

    async close() {
      for (const { child, done } of logons) {
        child.kill();
        await done;
      }
      await promisify(execFile)(join(LAB, 'xrdp.sh'), ['down'], { env });
      await rm(lab, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    const { code, output } = await finish(spawn(join(LAB, 'xrdp.sh'), ['up'], { env, stdio: ['ignore', 'pipe', 'pipe'] }));
    if (code !== 0) throw new Error(`xrdp.sh up: ${output}`);
    env.RDP_PORT = output.trim().split(/\s/).at(-1);
  } catch (error) {
    await host.close();
    throw error;
  }
  return host;
}

async function watchLogon(folder, before, done) {
  // Its own folder, and in it the moment when the client began.
  const started = async () => {
    const made = (await readdir(folder).catch(() => [])).find((name) => !before.includes(name));
    if (made === undefined) return undefined;
    const state = join(folder, made);
    const client = await stat(join(state, 'client.pid')).catch(() => undefined);
    return client && { state, begun: client.mtimeMs };
  };
  const { state, begun } = await until(started, 'the client starts');
  return {
    /** What the client shows, seen from now on. */
    async screen() {
      const asked = Date.now();
      return until(async () => {
        const file = join(state, 'now.png');
        const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: 0 }));
        const picture = mtimeMs > asked && (await readFile(file).catch(() => undefined));
        return picture?.subarray?.(-PNG_END.length).equals(PNG_END) && picture;
      }, 'a picture of the client');
    },

    /** `connected`, `refused` or `failed`; when that was seen, the picture in which, and what the client said. */
    async ended() {
      const { output } = await done;
      const [result, seconds, file] = output.trim().split(' ');
      if (file === undefined) throw new Error(`rdp-login.sh: ${output}`);
      const said = await readFile(join(state, 'client.log'), 'utf8');
      return { result, at: begun + Number(seconds) * 1000, picture: await readFile(file), said };
    },
  };
}

async function until(look, what) {
  for (let tries = 0; tries < 400; tries += 1) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited in vain: ${what}`);
}

function finish(child) {
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}
