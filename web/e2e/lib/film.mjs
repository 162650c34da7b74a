// A film of a QR code for Chromium's fake camera: uncompressed YUV4MPEG2, grey.

import { writeFile } from 'node:fs/promises';
import encodeQR from 'qr';

const WIDTH = 640;
const HEIGHT = 480;
const WALL = 150;
const DARK = 25;
const LIGHT = 230;

/** The code lies turned a little on a grey wall, and comes into the picture after some empty frames. */
export async function filmQr(file, text, { size = 300, degrees = 9, frames = 20, emptyFrames = 5 } = {}) {
  const modules = encodeQR(text, 'raw', { ecc: 'medium', border: 4 });
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  const empty = Buffer.alloc(WIDTH * HEIGHT, WALL);
  const picture = Buffer.from(empty);
  for (let y = 0; y < HEIGHT; y += 1) {
    for (let x = 0; x < WIDTH; x += 1) {
      const [dx, dy] = [x - WIDTH / 2, y - HEIGHT / 2];
      const column = Math.floor(((dx * cos + dy * sin) / size + 0.5) * modules.length);
      const row = Math.floor(((dy * cos - dx * sin) / size + 0.5) * modules.length);
      const dark = modules[row]?.[column];
      if (dark !== undefined) picture[y * WIDTH + x] = dark ? DARK : LIGHT;
    }
  }
  const grey = Buffer.alloc((WIDTH * HEIGHT) / 2, 128);
  const film = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F10:1 Ip A1:1 C420jpeg\n`)];
  for (let frame = 0; frame < frames; frame += 1) film.push(Buffer.from('FRAME\n'), frame < emptyFrames ? empty : picture, grey);
  await writeFile(file, Buffer.concat(film));
}
