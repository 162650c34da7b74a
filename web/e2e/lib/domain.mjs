// The lab's domain controller of Active Directory. See tests/lab.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SCRIPT = fileURLToPath(new URL('../../../tests/lab/samba-dc.sh', import.meta.url));
/** Of all its accounts. */
const PASSWORD = 'Passw0rd-1';

/** Starts the domain EXAMPLE. Needs root. */
export async function startDomain() {
  const lab = await mkdtemp(join(tmpdir(), 'countersign-domain-'));
  const run = (command) => promisify(execFile)(SCRIPT, [command], { env: { ...process.env, LAB: lab } });
  const domain = {
    password: PASSWORD,

    /** Makes it a directory of the server. */
    async introduce(server, name) {
      await server.commandWith(
        `${PASSWORD}\n`,
        ...['directory', 'add', name, '--kind', 'ad', '--server', `ldaps://127.0.0.1:${domain.port}`],
        ...['--base', 'DC=example,DC=test', '--netbios-domain', 'EXAMPLE', '--bind-name', 'svc-mfa@example.test'],
        ...['--bind-password-stdin', '--ca-file', join(lab, 'samba/tls/ca.pem')],
      );
    },

    async close() {
      await run('down');
      await rm(lab, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    const { stdout } = await run('up');
    domain.port = /LDAPS_PORT=(\d+)/.exec(stdout)[1];
  } catch (error) {
    await domain.close();
    throw error;
  }
  return domain;
}
