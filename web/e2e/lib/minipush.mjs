// A push service for Firefox: its WebSocket protocol on one side, Web Push (RFC 8030) on the other. As strict as the
// real ones with what an application server sends: TTL, size, encoding, urgency, topic, and VAPID (RFC 8292).

import { createPublicKey, randomBytes, verify } from 'node:crypto';
import http from 'node:http';
import { WebSocketServer } from 'ws';

const LARGEST = 4096;
const DAY_S = 86_400;

/** What the application server did wrong. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function startPushService() {
  const agents = new Map();
  const subscriptions = new Map();
  const log = [];
  let held = false;
  let origin;

  const tell = (agent, message) => agent.socket?.readyState === 1 && agent.socket.send(JSON.stringify(message));

  function handOver(agent) {
    if (held) return;
    agent.waiting = agent.waiting.filter(({ until }) => until > Date.now());
    for (const { message } of agent.waiting) tell(agent, message);
  }

  function take(token, headers, body) {
    const subscription = subscriptions.get(token);
    if (subscription === undefined) throw new Refusal(410, 'gone');
    checkHeaders(headers, body);
    checkVapid(headers.authorization, subscription.key, origin);
    const agent = agents.get(subscription.agent);
    const version = randomBytes(16).toString('base64url');
    const data = body.length === 0 ? {} : { data: body.toString('base64url'), headers: { encoding: 'aes128gcm' } };
    const message = { messageType: 'notification', channelID: subscription.channel, version, ...data };
    // RFC 8030 section 5.4: a topic replaces what waits under it.
    agent.waiting = agent.waiting.filter(({ topic }) => topic === undefined || topic !== headers.topic);
    agent.waiting.push({ message, topic: headers.topic, until: Date.now() + Number(headers.ttl) * 1000 });
    if (!held) tell(agent, message);
    log.push({ event: 'push', octets: body.length, ttl: headers.ttl, urgency: headers.urgency, topic: headers.topic });
    return `${origin}/message/${version}`;
  }

  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const token = /^\/wpush\/v2\/([\w-]+)$/.exec(request.url)?.[1];
      try {
        if (request.method !== 'POST' || token === undefined) throw new Refusal(404, 'not found');
        const place = take(token, request.headers, Buffer.concat(chunks));
        response.writeHead(201, { Location: place, TTL: request.headers.ttl }).end();
      } catch (error) {
        log.push({ event: 'refused', status: error.status ?? 500, message: error.message });
        response.writeHead(error.status ?? 500).end();
      }
    });
  });

  new WebSocketServer({ server, handleProtocols: (offered) => [...offered][0] }).on('connection', (socket) => {
    let agent;
    socket.on('close', () => {
      if (agent?.socket === socket) agent.socket = null;
    });
    socket.on('message', (raw) => {
      const message = JSON.parse(raw);
      switch (message.messageType) {
        case 'hello': {
          const id = agents.has(message.uaid) ? message.uaid : randomBytes(16).toString('hex');
          agent = agents.get(id) ?? { id, waiting: [] };
          agent.socket = socket;
          agents.set(id, agent);
          tell(agent, { messageType: 'hello', status: 200, uaid: id, use_webpush: true, broadcasts: {} });
          handOver(agent);
          break;
        }
        case 'register': {
          const token = randomBytes(24).toString('base64url');
          subscriptions.set(token, { agent: agent.id, channel: message.channelID, key: message.key });
          const pushEndpoint = `${origin}/wpush/v2/${token}`;
          log.push({ event: 'subscribed' });
          tell(agent, { messageType: 'register', status: 200, channelID: message.channelID, pushEndpoint });
          break;
        }
        case 'unregister':
          for (const [token, { channel }] of subscriptions) if (channel === message.channelID) subscriptions.delete(token);
          log.push({ event: 'unsubscribed' });
          tell(agent, { messageType: 'unregister', status: 200, channelID: message.channelID });
          break;
        case 'ack':
          for (const { version, code } of message.updates) {
            agent.waiting = agent.waiting.filter((waiting) => waiting.message.version !== version);
            // 100: decrypted and handed to the service worker.
            log.push({ event: 'delivered', code });
          }
          break;
        case 'nack':
          log.push({ event: 'failed', code: message.code });
          break;
        default:
          socket.send('{}');
      }
    });
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const host = `localhost:${server.address().port}`;
  origin = `http://${host}`;

  return {
    host,
    webSocket: `ws://${host}/`,
    log,
    subscriptions,
    /** Keeps the pushes to itself until `release`. */
    hold() {
      held = true;
    },
    release() {
      held = false;
      for (const agent of agents.values()) handOver(agent);
    },
    /** The events of this name, as soon as there are so many. */
    async logged(event, count = 1, withinMs = 25_000) {
      const until = Date.now() + withinMs;
      for (;;) {
        const found = log.filter((entry) => entry.event === event);
        if (found.length >= count) return found;
        if (Date.now() > until) throw new Error(`no ${count} × ${event}: ${JSON.stringify(log)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async close() {
      for (const { socket } of agents.values()) socket?.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function checkHeaders({ ttl, urgency, topic, 'content-encoding': encoding }, body) {
  if (!/^\d+$/.test(ttl ?? '')) throw new Refusal(400, 'TTL is missing or no number');
  if (body.length > LARGEST) throw new Refusal(413, `${body.length} octets are too many`);
  if (body.length > 0 && encoding !== 'aes128gcm') throw new Refusal(400, `content encoding ${encoding}`);
  if (urgency !== undefined && !['very-low', 'low', 'normal', 'high'].includes(urgency)) throw new Refusal(400, `urgency ${urgency}`);
  if (topic !== undefined && !/^[\w-]{1,32}$/.test(topic)) throw new Refusal(400, `topic ${topic}`);
}

/** RFC 8292 sections 2 and 4; `bound` is the key that the browser subscribed for. */
function checkVapid(authorization, bound, audience) {
  const parameters = /^vapid\s+(.*)$/i.exec(authorization ?? '')?.[1];
  if (parameters === undefined) throw new Refusal(401, 'no VAPID');
  const { t, k } = Object.fromEntries(parameters.split(/\s*,\s*/).map((pair) => [pair[0], pair.slice(2)]));
  if (t === undefined || k === undefined) throw new Refusal(401, 'VAPID without t or k');
  const point = Buffer.from(k, 'base64url');
  if (point.length !== 65 || point[0] !== 4) throw new Refusal(401, 'k is no uncompressed point');
  if (!point.equals(Buffer.from(bound, 'base64url'))) throw new Refusal(401, 'k is not the key of the subscription');
  const [header, claims, signature] = t.split('.');
  const jwk = { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') };
  const key = { key: createPublicKey({ format: 'jwk', key: jwk }), dsaEncoding: 'ieee-p1363' };
  if (!verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'))) throw new Refusal(401, 'VAPID signature');
  const { alg } = JSON.parse(Buffer.from(header, 'base64url'));
  const { aud, exp, sub } = JSON.parse(Buffer.from(claims, 'base64url'));
  const now = Date.now() / 1000;
  if (alg !== 'ES256') throw new Refusal(401, `alg ${alg}`);
  if (aud !== audience) throw new Refusal(401, `aud ${aud}`);
  if (!(exp > now && exp <= now + DAY_S)) throw new Refusal(401, `exp ${exp}`);
  if (!/^(mailto:|https:)/.test(sub ?? '')) throw new Refusal(401, `sub ${sub}`);
}
