// Firefox by its own remote protocol, Marionette: frames of JSON behind their length, over TCP. No other driver is needed,
// and its privileged scripts reach what no page can: here, the notifications that the browser wants to show.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_MS = 40_000;
const SCRIPT_MS = 30_000;

/** Quiet, and with nothing that asks the internet. */
const PREFERENCES = {
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'browser.aboutwelcome.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.homepage_override.mstone': 'ignore',
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  // The recommended ones switch push off.
  'remote.prefs.recommended': false,
  'services.settings.server': 'http://127.0.0.1:9/',
  'toolkit.telemetry.enabled': false,
};

export async function startFirefox({ preferences = {}, profile, bin = process.env.FIREFOX ?? '/usr/bin/firefox-esr' } = {}) {
  const folder = profile ?? (await mkdtemp(join(tmpdir(), 'countersign-firefox-')));
  const port = await freePort();
  const all = { ...PREFERENCES, ...preferences, 'marionette.port': port };
  const lines = Object.entries(all).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  await writeFile(join(folder, 'user.js'), lines.join(''));
  const args = ['--headless', '--marionette', '--no-remote', '--profile', folder, '--remote-allow-system-access'];
  const child = spawn(bin, args, { stdio: 'ignore', env: { ...process.env, HOME: folder, MOZ_CRASHREPORTER_DISABLE: '1' } });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const connection = await connect(port, child);
  await connection.command('WebDriver:NewSession', {});
  await connection.command('WebDriver:SetTimeouts', { script: SCRIPT_MS });

  /** Runs an async function where scripts run now, and gives what it gives. */
  async function run(script, ...args) {
    const source = `
      const done = arguments[arguments.length - 1];
      (${script})(...Array.from(arguments).slice(0, -1)).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value } = await connection.command('WebDriver:ExecuteAsyncScript', { script: source, args, sandbox: null });
    if (value === null) throw new Error('the page went away');
    if (value.error !== undefined) throw new Error(value.error);
    return value.value;
  }

  const stop = async () => {
    await connection.command('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => undefined);
    const killer = setTimeout(() => child.kill('SIGKILL'), 8_000);
    await ended;
    clearTimeout(killer);
    connection.close();
  };

  return {
    profile: folder,
    goTo: (url) => connection.command('WebDriver:Navigate', { url }),
    /** In the page. */
    run,
    /** In the browser itself. */
    async runPrivileged(script, ...args) {
      await connection.command('Marionette:SetContext', { value: 'chrome' });
      try {
        return await run(script, ...args);
      } finally {
        await connection.command('Marionette:SetContext', { value: 'content' });
      }
    },
    windows: () => connection.command('WebDriver:GetWindowHandles'),
    switchTo: (handle) => connection.command('WebDriver:SwitchToWindow', { handle, focus: true }),
    /** Ends the browser and keeps its profile. */
    stop,
    async close() {
      await stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function connect(port, child) {
  const until = Date.now() + START_MS;
  for (;;) {
    try {
      return await open(port);
    } catch (error) {
      if (child.exitCode !== null || Date.now() > until) throw new Error('Firefox did not start', { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

function open(port) {
  return new Promise((resolve, reject) => {
    const asked = new Map();
    let buffer = Buffer.alloc(0);
    let last = 0;
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', reject);
    socket.on('close', () => {
      for (const { reject: fail } of asked.values()) fail(new Error('Firefox hung up'));
    });
    socket.on('connect', () =>
      resolve({
        command(name, parameters = {}) {
          last += 1;
          const message = JSON.stringify([0, last, name, parameters]);
          socket.write(`${Buffer.byteLength(message)}:${message}`);
          return new Promise((ok, fail) => asked.set(last, { ok, reject: fail }));
        },
        close: () => socket.destroy(),
      }),
    );
    socket.on('data', (data) => {
      buffer = Buffer.concat([buffer, data]);
      for (;;) {
        const colon = buffer.indexOf(':');
        const length = Number(buffer.subarray(0, colon));
        if (colon < 0 || buffer.length < colon + 1 + length) return;
        const message = JSON.parse(buffer.subarray(colon + 1, colon + 1 + length));
        buffer = buffer.subarray(colon + 1 + length);
        // The first frame is the greeting, an object.
        if (!Array.isArray(message)) continue;
        const [, id, error, result] = message;
        const waiting = asked.get(id);
        asked.delete(id);
        if (error) waiting?.reject(new Error(`${error.error}: ${error.message}`));
        else waiting?.ok(result);
      }
    });
  });
}

function freePort() {
  return new Promise((resolve) => {
    const socket = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

/** Puts a recorder in the place of the desktop's notifications. It shows nothing, and can be clicked. */
export async function recordNotifications(firefox) {
  await firefox.runPrivileged(async () => {
    const window = Services.wm.getMostRecentWindow('navigator:browser');
    window.recorded = [];
    const recorder = {
      QueryInterface: ChromeUtils.generateQI(['nsIAlertsService', 'nsIAlertsDoNotDisturb']),
      manualDoNotDisturb: false,
      showAlert(alert, listener) {
        window.recorded.push({ alert, listener });
        listener?.observe(null, 'alertshow', alert.cookie);
      },
      showPersistentNotification(_, alert, listener) {
        this.showAlert(alert, listener);
      },
      closeAlert(name) {
        const at = window.recorded.findIndex(({ alert }) => alert.name === name);
        if (at < 0) return;
        const [{ alert, listener }] = window.recorded.splice(at, 1);
        listener?.observe(null, 'alertfinished', alert.cookie);
      },
      getHistory: async () => [],
      teardown() {},
      pbmTeardown() {},
    };
    const registrar = Components.manager.QueryInterface(Ci.nsIComponentRegistrar);
    const factory = {
      QueryInterface: ChromeUtils.generateQI(['nsIFactory']),
      createInstance: (wanted) => recorder.QueryInterface(wanted),
    };
    const id = Components.ID('{5b2a8f0e-60a1-4c8e-9d3b-2f1f6f1c7a11}');
    registrar.registerFactory(id, 'recorder of notifications', '@mozilla.org/alerts-service;1', factory);
  });
}

/** The notifications that stand now, once there is one. */
export async function notifications(firefox) {
  return firefox.runPrivileged(async () => {
    const window = Services.wm.getMostRecentWindow('navigator:browser');
    for (let tries = 0; tries < 250 && window.recorded.length === 0; tries += 1) await new Promise((resolve) => setTimeout(resolve, 100));
    return window.recorded.map(({ alert }) => ({ title: alert.title, text: alert.text, actions: [...(alert.actions ?? [])].length }));
  });
}

/** Clicks the newest one, as the desktop would: trusted. */
export async function clickNotification(firefox) {
  await firefox.runPrivileged(async () => {
    const { alert, listener } = Services.wm.getMostRecentWindow('navigator:browser').recorded.at(-1);
    listener.observe(null, 'alertclickcallback', alert.cookie);
  });
}
