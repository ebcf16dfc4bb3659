// Ten js-libp2p nodes in one process, for the benchmark of gossip (../bench/gossip_cpu.py).
//
// {nodes, edges: [[a, b]], publishers: [n], rate, size, settle, degree: [low, d, high]}: the nodes are connected along the
// edges, message i is published by publishers[i] at i / rate seconds; tells one line of figures and ends.
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

const TOPIC = 'bench/announce/1'
const told = JSON.parse(process.argv[2])
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const [Dlo, D, Dhi] = told.degree
const late = []
const sent = []

const nodes = await Promise.all(Array.from({ length: told.nodes }, () => createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  // All come from one address here.
  connectionManager: { inboundConnectionThreshold: 1000 },
  services: { identify: identify(), gossip: gossipsub({ D, Dlo, Dhi, allowPublishToZeroTopicPeers: true }) }
})))
for (const node of nodes) {
  node.services.gossip.addEventListener('message', ({ detail }) => {
    const number = Buffer.from(detail.data).readUInt32BE(0)
    late.push(performance.now() - sent[number])
  })
  node.services.gossip.subscribe(TOPIC)
}
for (const [a, b] of told.edges) await nodes[a].dial(nodes[b].getMultiaddrs())
await sleep(told.settle * 1000)

const expected = told.publishers.length * (told.nodes - 1)
const cpu = process.cpuUsage()
const began = performance.now()
for (const [number, publisher] of told.publishers.entries()) {
  await sleep(Math.max(0, began + 1000 * number / told.rate - performance.now()))
  const data = Buffer.from(crypto.getRandomValues(new Uint8Array(told.size)))
  data.writeUInt32BE(number, 0)
  sent[number] = performance.now()
  nodes[publisher].services.gossip.publish(TOPIC, data).catch(() => {})
}
const until = performance.now() + 5000
while (late.length < expected && performance.now() < until) await sleep(50)
const used = process.cpuUsage(cpu)
late.sort((a, b) => a - b)
const at = (share) => Math.round(10 * (late[Math.floor((late.length - 1) * share)] ?? 0)) / 10
process.stdout.write(JSON.stringify({
  deliveries: late.length,
  expected,
  delivered_percent: Math.round(10000 * late.length / expected) / 100,
  cpu_ms_per_delivery: Math.round((used.user + used.system) / Math.max(1, late.length)) / 1000,
  p50_ms: at(0.5),
  p99_ms: at(0.99)
}) + '\n')
process.exit(0)
