import { expect, it } from 'vitest';
import { type TotpAlgorithm, importSeed, totpCode, totpLeft, totpSettings, totpStep } from '../src/protocol/totp';

// RFC 6238 appendix B; the seeds have the length of the hash (errata 2866).
const SEEDS: Record<TotpAlgorithm, string> = {
  SHA1: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ',
  SHA256: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA',
  SHA512: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA',
};
const CODES: [number, Record<TotpAlgorithm, string>][] = [
  [59, { SHA1: '94287082', SHA256: '46119246', SHA512: '90693936' }],
  [1111111109, { SHA1: '07081804', SHA256: '68084774', SHA512: '25091201' }],
  [1111111111, { SHA1: '14050471', SHA256: '67062674', SHA512: '99943326' }],
  [1234567890, { SHA1: '89005924', SHA256: '91819424', SHA512: '93441116' }],
  [2000000000, { SHA1: '69279037', SHA256: '90698825', SHA512: '38618901' }],
  [20000000000, { SHA1: '65353130', SHA256: '77737706', SHA512: '47863826' }],
];

it('RFC 6238 appendix B', async () => {
  for (const algorithm of ['SHA1', 'SHA256', 'SHA512'] as const) {
    const settings = { algorithm, digits: 8, period: 30 };
    const key = await importSeed(SEEDS[algorithm], algorithm);
    for (const [seconds, codes] of CODES) {
      expect(await totpCode(key, settings, totpStep(settings, seconds * 1000)), `${algorithm} ${seconds}`).toBe(codes[algorithm]);
    }
  }
});

it('a seed cannot be read again', async () => {
  const key = await importSeed(SEEDS.SHA1, 'SHA1');
  await expect(crypto.subtle.exportKey('raw', key)).rejects.toThrow('key is not extractable');
});

it('what is left of a step', () => {
  const settings = { algorithm: 'SHA1', digits: 6, period: 30 } as const;
  expect(totpLeft(settings, 30_000)).toBe(30_000);
  expect(totpLeft(settings, 59_999)).toBe(1);
});

it('settings that make no sense are refused', () => {
  for (const settings of [
    { algorithm: 'MD5', digits: 6, period: 30 },
    { algorithm: 'SHA1', digits: 5, period: 30 },
    { algorithm: 'SHA1', digits: 6, period: 0 },
    { algorithm: 'toString', digits: 6, period: 30 },
  ]) {
    expect(() => totpSettings(settings)).toThrow();
  }
});
