// A js-libp2p node beside ours, driven line by line: `node ... directory_peer.mjs '<JSON>'`, then commands on stdin.
//
// {seed?}: starts a node with gossip and DHT; tells {peer, addrs}. Each command is one line of JSON and is answered by
// one line with the same "n"; what gossip brings is told as {heard: hex}.
//
// {mode: "snapshot", entry, destination}: fetches a whole directory over a circuit, checks every hash and signature.
// {mode: "vectors", file}: opens every record of a vector file; tells what was found in each, or why it was refused.
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair, generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { lpStream } from '@libp2p/utils'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { sha256 } from '@noble/hashes/sha2.js'
import { createLibp2p } from 'libp2p'
import { decode, delegationDigest, encode, hex, openRecord, statement, verify } from './records.mjs'

const KAD = '/warmline/kad/1.0.0'
const DIRECTORY = '/warmline/directory/1'
const TOPIC = '/warmline/records/1'
const PATIENCE = 60_000
const tell = (fact) => process.stdout.write(JSON.stringify(fact) + '\n')
const soon = () => ({ signal: AbortSignal.timeout(PATIENCE) })
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'))

const records = {
  validate: async (key, value) => {
    const found = `/warm/${hex(openRecord(value).id)}`
    if (found !== Buffer.from(key).toString()) throw new Error('a record under another key')
  },
  select: (key, values) => {
    const seqs = values.map((value) => openRecord(value).body.seq)
    return seqs.indexOf(Math.max(...seqs))
  }
}

async function start ({ seed, listen = ['/ip4/127.0.0.1/tcp/0'], services = {} }) {
  const privateKey = seed === undefined
    ? await generateKeyPair('Ed25519')
    : await generateKeyPairFromSeed('Ed25519', bytes(seed))
  return createLibp2p({
    privateKey,
    addresses: { listen },
    transports: [tcp(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify(), ...services }
  })
}

async function serve (options) {
  const node = await start({
    ...options,
    services: {
      ping: ping(),
      gossip: gossipsub({ allowPublishToZeroTopicPeers: true }),
      dht: kadDHT({
        protocol: KAD,
        clientMode: false,
        peerInfoMapper: passthroughMapper,
        validators: { warm: records.validate },
        selectors: { warm: records.select }
      })
    }
  })
  const { gossip, dht } = node.services
  gossip.addEventListener('message', ({ detail }) => {
    if (detail.topic === TOPIC) tell({ heard: hex(detail.data) })
  })
  // A content key is 32 bytes of SHA-256; the library wants an object whose multihash they are.
  const content = (key) => ({ multihash: { bytes: bytes(key) }, bytes: bytes(key), toString: () => key })
  const one = async (events) => {
    for await (const event of events) if (event.name === 'VALUE') return hex(event.value)
    return null
  }
  const deeds = {
    connect: async ({ addr }) => (await node.dial(multiaddr(addr), soon())).remotePeer.toString(),
    subscribe: async () => gossip.subscribe(TOPIC),
    subscribers: async () => gossip.getSubscribers(TOPIC).map(String),
    publish: async ({ data }) => (await gossip.publish(TOPIC, bytes(data))).recipients.map(String),
    table: async () => dht.routingTable.size,
    put: async ({ key, data }) => {
      let took = 0
      for await (const event of dht.put(Buffer.from(key), bytes(data), soon())) {
        took += event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE'
      }
      return took
    },
    get: async ({ key }) => one(dht.get(Buffer.from(key), soon())),
    provide: async ({ key }) => {
      let told = 0
      for await (const event of dht.provide(content(key), soon())) told += event.name === 'PEER_RESPONSE'
      return told
    },
    find: async ({ key }) => {
      const found = new Set()
      for await (const event of dht.findProviders(content(key), soon())) {
        if (event.name === 'PROVIDER') for (const provider of event.providers) found.add(provider.id.toString())
      }
      return [...found]
    }
  }
  tell({ peer: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    try {
      tell({ n: command.n, answer: await deeds[command.do](command) })
    } catch (error) {
      tell({ n: command.n, error: `${error.name}: ${error.message}` })
    }
  }
  await node.stop()
}

async function snapshot ({ entry, destination }) {
  const node = await start({ listen: [] })
  const connection = await node.dial(multiaddr(`${entry}/p2p-circuit/p2p/${destination}`), soon())
  const channel = lpStream(await connection.newStream(DIRECTORY, { runOnLimitedConnection: true, ...soon() }))
  const call = async (question, tag) => {
    await channel.write(encode(question), soon())
    const answer = decode((await channel.read(soon())).subarray())
    if (answer.t !== tag) throw new Error(`${answer.t} where ${tag} was expected: ${answer.why ?? ''}`)
    return answer
  }
  const manifest = await call({ t: 'snapshot-wanted', shard: 0 }, 'snapshot')
  const { t: _tag, sig, ...fields } = manifest
  const nodeKey = connection.remotePeer.publicKey.raw
  verify(nodeKey, 'snapshot', encode(fields), sig)
  const section = async (name, bucket, size) => {
    let data = Buffer.alloc(0)
    while (data.length < size) {
      const part = await call({ t: 'part-wanted', snapshot: manifest.id, section: name, bucket, offset: data.length }, 'part')
      data = Buffer.concat([data, part.data])
    }
    return Uint8Array.from(data)
  }
  const index = await section('index', 0, manifest.index_size)
  if (Buffer.compare(sha256(index), manifest.index_hash) !== 0) throw new Error('another index than was announced')
  const rows = framed(index).map((row) => decode(row))
  const bodies = []
  for (const [bucket, size] of manifest.bucket_sizes.entries()) {
    const data = await section('bodies', bucket, size)
    const wanted = manifest.bucket_hashes.subarray(16 * bucket, 16 * bucket + 16)
    if (Buffer.compare(sha256(data).subarray(0, 16), wanted) !== 0) throw new Error('another bucket than was announced')
    bodies.push(...framed(data).map(openRecord))
  }
  tell({
    peer: node.peerId.toString(),
    remote: connection.remotePeer.toString(),
    limited: connection.limits !== undefined,
    shards: manifest.shards,
    rows: rows.map((row) => hex(row.id)),
    records: bodies.map((record) => ({ id: hex(record.id), kind: record.kind, title: record.body.title ?? null }))
  })
  await node.stop()
}

function framed (data) {
  const out = []
  for (let at = 0; at < data.length;) {
    let size = 0
    let shift = 0
    for (let more = true; more; shift += 7) {
      size += (data[at] & 0x7f) << shift
      more = (data[at++] & 0x80) !== 0
    }
    out.push(data.subarray(at, at + size))
    at += size
  }
  return out
}

async function vectors ({ file }) {
  for (const row of JSON.parse(await readFile(file, 'utf8'))) {
    const data = row.bytes === null ? new Uint8Array(row.zeros) : bytes(row.bytes)
    try {
      const record = openRecord(data)
      const given = record.delegation
      tell({
        name: row.name,
        kind: record.kind,
        id: hex(record.id),
        owner: hex(record.body.owner),
        again: hex(encode(record.body)) === hex(decode(data).body),
        delegation_digest: given === undefined ? null : hex(delegationDigest(given)),
        delegation_text: given === undefined ? null : statement(given)
      })
    } catch (error) {
      tell({ name: row.name, refused: error.message })
    }
  }
}

const options = JSON.parse(process.argv[2])
try {
  await { snapshot, vectors }[options.mode]?.(options) ?? (options.mode === undefined && await serve(options))
} catch (error) {
  tell({ error: error.name, message: error.message })
  process.exitCode = 1
  setTimeout(() => process.exit(1), 1000).unref()
}
