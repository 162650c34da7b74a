import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { readLink } from '../protocol/activation';
import { go } from '../app/route';
import { offered } from '../app/start';
import { type Key, t } from '../i18n';
import { type Reader, qrReader } from './qr';
import { Go, Notice, Screen } from './parts';

type Camera = 'starting' | 'looking' | 'refused' | 'missing';
const BETWEEN_MS = 80;

export function ScanScreen(): JSX.Element {
  const video = useRef<HTMLVideoElement>(null);
  const [camera, setCamera] = useState<Camera>('starting');
  const [seen, setSeen] = useState<Key | null>(null);

  useEffect(() => {
    const element = video.current;
    if (element === null) return;
    let stream: MediaStream | null = null;
    let over = false;
    const look = async () => {
      const reader = await qrReader();
      stream = await openCamera();
      if (over) return stop(stream);
      element.srcObject = stream;
      await element.play();
      setCamera('looking');
      while (!over) {
        const text = await read(reader, element);
        if (text !== null && !over) found(text);
        await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
      }
    };
    const found = (text: string) => {
      const reading = readLink(text);
      if (reading.kind === 'link') {
        over = true;
        navigator.vibrate?.(60);
        offered.set(reading);
        go('/activate', 'replace');
      } else setSeen(reading.kind === 'newer' ? 'newer_code_title' : 'foreign_code_title');
    };
    look().catch((error: unknown) => {
      if (over) return;
      const name = error instanceof DOMException ? error.name : '';
      setCamera(name === 'NotAllowedError' || name === 'SecurityError' ? 'refused' : 'missing');
    });
    return () => {
      over = true;
      stop(stream);
    };
  }, []);

  const usable = camera === 'starting' || camera === 'looking';
  return (
    <Screen title={t('scan')} backTo="/add">
      {usable ? (
        <>
          <div class="viewfinder">
            <video ref={video} muted playsInline aria-label={t('camera_picture')} />
            <span class="corners" aria-hidden="true" />
          </div>
          <p class="hint centre" role="status">
            {t(seen ?? (camera === 'starting' ? 'camera_starting' : 'camera_looking'))}
          </p>
        </>
      ) : (
        <Notice icon="camera" kind="warning" title={t(camera === 'refused' ? 'camera_refused_title' : 'camera_missing_title')}>
          <p>{t(camera === 'refused' ? 'camera_refused_text' : 'camera_missing_text')}</p>
        </Notice>
      )}
      <Go to="/add/manual" class={usable ? 'button' : 'button main'}>
        {t('enter_manually')}
      </Go>
    </Screen>
  );
}

/** The camera that looks away from the person, where there are two. */
async function openCamera(): Promise<MediaStream> {
  if (navigator.mediaDevices?.getUserMedia === undefined) throw new DOMException('no camera', 'NotFoundError');
  return navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 720 } },
  });
}

function stop(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

async function read(reader: Reader, video: HTMLVideoElement): Promise<string | null> {
  if (video.videoWidth === 0 || document.visibilityState !== 'visible') return null;
  return reader(video).catch(() => null);
}
