// Canonical msgpack and signed records, written from protocol/discovery.md and from nothing else: if this reads what
// the Python side signs, and refuses what it refuses, the page says enough to build on.
import { ed25519 } from '@noble/curves/ed25519.js'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { keccak_256 as keccak } from '@noble/hashes/sha3.js'

const RECORD_MAX = 16 * 1024
const SKEW_MS = 5 * 60_000
const HOUR = 3_600_000
const LIFE_MS = { node: 24 * HOUR, listing: 48 * HOUR, card: 7 * 24 * HOUR, desk: 7 * 24 * HOUR, collector: 7 * 24 * HOUR }
const utf8 = (text) => new TextEncoder().encode(text)
export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const join = (...parts) => Uint8Array.from(Buffer.concat(parts.map((part) => Uint8Array.from(part))))
const same = (a, b) => Buffer.compare(a, b) === 0

class Refused extends Error {}
const refuse = (why) => { throw new Refused(why) }

// --- canonical msgpack -----------------------------------------------------------------------------------------------

const sized = (size, small, codes) => {
  if (small !== undefined && size < small.below) return [small.code | size]
  const [code, width] = codes.find(([, bytes]) => size < 2 ** (8 * bytes))
  const out = [code]
  for (let at = width - 1; at >= 0; at--) out.push(Math.floor(size / 2 ** (8 * at)) % 256)
  return out
}

export function encode (value) {
  if (typeof value === 'boolean') return Uint8Array.of(value ? 0xc3 : 0xc2)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) refuse('a number that is no integer of 53 bits')
    if (value < 0) refuse('no message has a negative number')
    if (value < 128) return Uint8Array.of(value)
    return Uint8Array.from(sized(value, undefined, [[0xcc, 1], [0xcd, 2], [0xce, 4], [0xcf, 8]]))
  }
  if (typeof value === 'string') {
    const text = utf8(value)
    return join(sized(text.length, { below: 32, code: 0xa0 }, [[0xd9, 1], [0xda, 2], [0xdb, 4]]), text)
  }
  if (value instanceof Uint8Array) return join(sized(value.length, undefined, [[0xc4, 1], [0xc5, 2], [0xc6, 4]]), value)
  if (Array.isArray(value)) {
    return join(sized(value.length, { below: 16, code: 0x90 }, [[0xdc, 2], [0xdd, 4]]), ...value.map(encode))
  }
  const keys = Object.keys(value).sort((a, b) => Buffer.compare(utf8(a), utf8(b)))
  const parts = keys.flatMap((key) => [encode(key), encode(value[key])])
  return join(sized(keys.length, { below: 16, code: 0x80 }, [[0xde, 2], [0xdf, 4]]), ...parts)
}

export function decode (data, most = 1 << 20) {
  if (data.length > most) refuse('too large')
  let at = 0
  const take = (size) => {
    if (at + size > data.length) refuse('cut short')
    at += size
    return data.subarray(at - size, at)
  }
  const number = (width) => take(width).reduce((sum, byte) => sum * 256 + byte, 0)
  const list = (size) => Array.from({ length: size > 4096 ? refuse('too many items') : size }, read)
  const map = (size) => {
    const out = {}
    for (let n = 0; n < size; n++) {
      const key = read()
      if (typeof key !== 'string' || key in out) refuse('a key twice, or no string')
      out[key] = read()
    }
    return out
  }
  function read () {
    const code = number(1)
    if (code < 0x80) return code
    if (code < 0x90) return map(code & 0x0f)
    if (code < 0xa0) return list(code & 0x0f)
    if (code < 0xc0) return text(code & 0x1f)
    switch (code) {
      case 0xc2: case 0xc3: return code === 0xc3
      case 0xc4: case 0xc5: case 0xc6: return Uint8Array.from(take(number(2 ** (code - 0xc4))))
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return number(2 ** (code - 0xcc))
      case 0xd9: case 0xda: case 0xdb: return text(number(2 ** (code - 0xd9)))
      case 0xdc: case 0xdd: return list(number(2 ** (code - 0xdb)))
      case 0xde: case 0xdf: return map(number(2 ** (code - 0xdd)))
      default: return refuse('a type that the wire does not know')
    }
  }
  const text = (size) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(take(size))
  const value = read()
  if (at !== data.length || !same(encode(value), data)) refuse('not the one encoding of its value')
  return value
}

// --- records ---------------------------------------------------------------------------------------------------------

const FIELDS = { body: 'body', delegation: 'delegation', key: 'key', kind: 'kind', sig: 'sig' }
const bound = (domain, payload) => join(utf8(`warmline/1/${domain}`), [0], payload)
export const verify = (key, domain, payload, sig) => {
  if (!ed25519.verify(sig, bound(domain, payload), key, { zip215: false })) refuse('bad signature')
}
export const recordId = (kind, owner, slug) =>
  sha256(join(utf8('warmline/1/record-id'), [0], encode([kind, owner, slug])))

const word = (number) => Uint8Array.from({ length: 32 }, (_, at) => Math.floor(number / 2 ** (8 * (31 - at))) % 256)
const left = (bytes) => join(new Uint8Array(32 - bytes.length), bytes)
const MAY = {
  supporter: 'sign my warmline card, my group listings and my sessions',
  node: 'say that I run this warmline node'
}
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
  'November', 'December']

export function statement (given) {
  const at = new Date(given.not_after_s * 1000)
  const two = (number) => String(number).padStart(2, '0')
  const day = `${two(at.getUTCDate())} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`
  return `This device key may ${MAY[given.scope]} until ${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())} UTC. ` +
    'It cannot move money.'
}

export function delegationDigest (given) {
  const domain = keccak(join(
    keccak(utf8('EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)')),
    keccak(utf8('warmline')), keccak(utf8('1')), word(given.chain_id), left(given.registry)))
  const struct = keccak(join(
    keccak(utf8('Delegation(string statement,address wallet,bytes32 key,uint64 notBefore,uint64 notAfter)')),
    keccak(utf8(statement(given))), left(given.wallet), given.key, word(given.not_before_s), word(given.not_after_s)))
  return keccak(join([0x19, 0x01], domain, struct))
}

function checkDelegation (given) {
  if (given.signature === undefined) return
  const [v] = given.signature.subarray(64)
  if (v !== 27 && v !== 28) refuse('v is not 27 or 28')
  const recoverable = join([v - 27], given.signature.subarray(0, 64))
  if (secp256k1.Signature.fromBytes(recoverable, 'recovered').hasHighS()) refuse('a signature with high s')
  const compressed = secp256k1.recoverPublicKey(recoverable, delegationDigest(given), { prehash: false })
  const point = secp256k1.Point.fromBytes(compressed).toBytes(false)
  if (!same(keccak(point.subarray(1)).subarray(12), given.wallet)) refuse('not signed by the wallet')
}

function checkSpeaker (signed, body) {
  const given = signed.delegation
  const aboutNode = signed.kind === 'node' || (signed.kind === 'tombstone' && body.of === 'node')
  if (given !== undefined) {
    if (!same(given.key, signed.key)) refuse('a delegation for another key')
    if (given.scope !== (aboutNode ? 'node' : 'supporter')) refuse('a delegation of another scope')
    if (body.seq < given.not_before_s * 1000 - SKEW_MS || body.seq > given.not_after_s * 1000 + SKEW_MS) {
      refuse('signed outside the time of its delegation')
    }
  }
  if (!same(body.owner, aboutNode || given === undefined ? signed.key : given.wallet)) refuse('another owner')
}

export function openRecord (data) {
  if (data.length > RECORD_MAX) refuse('oversize')
  const signed = decode(data)
  if (Object.keys(signed).some((name) => !(name in FIELDS))) refuse('an unknown field')
  const body = decode(signed.body)
  const ends = signed.kind === 'tombstone' ? body.of : signed.kind
  const life = body.not_after - body.seq
  if (!(ends in LIFE_MS) || life <= 0 || life > LIFE_MS[ends]) refuse('a life that its kind may not have')
  checkSpeaker(signed, body)
  verify(signed.key, `record/${signed.kind}`, signed.body, signed.sig)
  if (signed.delegation !== undefined) checkDelegation(signed.delegation)
  return { ...signed, body, id: recordId(ends, body.owner, body.slug ?? ''), digest: sha256(data) }
}
