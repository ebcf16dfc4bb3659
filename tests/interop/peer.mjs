// A js-libp2p peer for one test: `node --experimental-websocket --import ./polyfill.mjs peer.mjs '<JSON>'`.
//
// {mode: "dial", entry, destination, protocol, frames: [sizes]}  dials a circuit and has frames echoed
// {mode: "listen", relay, protocol, seed}                        reserves at a relay and echoes; ends with its stdin
//
// Each fact is one line of JSON on stdout; {"error": name, "message": text} and exit code 1 when something failed.
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair, generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { lpStream } from '@libp2p/utils'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const SECONDS = 1000
const PATIENCE = 30 * SECONDS
const tell = (fact) => process.stdout.write(JSON.stringify(fact) + '\n')
const soon = () => ({ signal: AbortSignal.timeout(PATIENCE) })

async function start ({ seed, listen = [] }) {
  const privateKey = seed === undefined
    ? await generateKeyPair('Ed25519')
    : await generateKeyPairFromSeed('Ed25519', Uint8Array.from(Buffer.from(seed, 'hex')))
  return createLibp2p({
    privateKey,
    addresses: { listen },
    transports: [tcp(), webSockets(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify() }
  })
}

async function dial ({ entry, destination, protocol, frames }) {
  const node = await start({})
  const began = performance.now()
  const connection = await node.dial(multiaddr(`${entry}/p2p-circuit/p2p/${destination}`), soon())
  const opened = performance.now()
  const stream = await connection.newStream(protocol, { runOnLimitedConnection: true, ...soon() })
  const channel = lpStream(stream)
  for (const size of frames) {
    const sent = Uint8Array.from({ length: size }, (_, i) => i % 251)
    await channel.write(sent, soon())
    const got = (await channel.read(soon())).subarray()
    if (Buffer.compare(sent, got) !== 0) throw new Error(`a frame of ${size} bytes came back changed`)
  }
  tell({
    peer: node.peerId.toString(),
    remote: connection.remotePeer.toString(),
    limited: connection.limits !== undefined,
    limits: { seconds: connection.limits?.seconds, bytes: Number(connection.limits?.bytes ?? 0) },
    dial_ms: Math.round(opened - began),
    echoed: frames.length
  })
  await stream.close(soon())
  await node.stop()
}

async function listen ({ relay, protocol, seed }) {
  const node = await start({ seed, listen: [`${relay}/p2p-circuit`] })
  await node.handle(protocol, async (stream) => {
    const channel = lpStream(stream)
    try {
      for (;;) await channel.write((await channel.read(soon())).subarray(), soon())
    } catch {
      await stream.close().catch(() => stream.abort(new Error('the other side left')))
    }
  }, { runOnLimitedConnection: true })
  const deadline = Date.now() + PATIENCE
  while (node.getMultiaddrs().length === 0) {
    if (Date.now() > deadline) throw new Error('the relay granted no reservation')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  tell({ peer: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
  for await (const _ of process.stdin) { /* until the test closes it */ }
  await node.stop()
}

const options = JSON.parse(process.argv[2])
try {
  await { dial, listen }[options.mode](options)
} catch (error) {
  tell({ error: error.name, message: error.message })
  process.exitCode = 1
  setTimeout(() => process.exit(1), SECONDS).unref()
}
