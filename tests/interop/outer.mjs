// The outer layer of a session as protocol/sessions.md says it, with nothing of the Python code: canonical msgpack, cells,
// key schedule, X-Wing envelopes, Hello, statement and evidence. Web platform calls only, so that a page could run it.
import { CipherSuite, HkdfSha256 } from '@hpke/core'
import { Chacha20Poly1305 } from '@hpke/chacha20poly1305'
import { XWing } from '@hpke/hybridkem-x-wing'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'

const utf8 = new TextEncoder()
const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Chacha20Poly1305() })
const CELL = 4096
const SALT = 32
const HEADER = 26
const HELLO_BODY = CELL - 1120 - 16
export const PAYLOAD = CELL - SALT - 16 - HEADER
const BUNDLES = [1, 2, 4, 8, 16]
export const EXPORTER_LABEL = utf8.encode('warmline/1/outer')

export function join (...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  parts.reduce((at, part) => { whole.set(part, at); return at + part.length }, 0)
  return whole
}

export const same = (one, two) => one.length === two.length && one.every((byte, index) => byte === two[index])
export const sha256 = async bytes => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))

function big (value, size) {
  const bytes = new Uint8Array(size)
  let rest = BigInt(value)
  for (let at = size - 1; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn)
  return bytes
}

const number = bytes => bytes.reduce((value, byte) => value * 256 + byte, 0)

// Canonical msgpack: shortest forms, keys in the order of their UTF-8 bytes.

function head (size, fix, limit, forms) {
  if (size < limit) return new Uint8Array([fix | size])
  const [code, width] = forms.find(([, width]) => size < 256 ** width)
  return join(new Uint8Array([code]), big(size, width))
}

function integer (value) {
  if (value < 0) throw new Error('no message holds a negative number')
  return value < 128 ? new Uint8Array([value]) : head(value, 0, 0, [[0xcc, 1], [0xcd, 2], [0xce, 4], [0xcf, 8]])
}

function order (one, two) {
  const [a, b] = [utf8.encode(one), utf8.encode(two)]
  const at = a.findIndex((byte, index) => byte !== b[index])
  return at < 0 ? a.length - b.length : a[at] - (b[at] ?? -1)
}

export function pack (value) {
  if (typeof value === 'boolean') return new Uint8Array([value ? 0xc3 : 0xc2])
  if (typeof value === 'number') return integer(value)
  if (value instanceof Uint8Array) return join(head(value.length, 0, 0, [[0xc4, 1], [0xc5, 2], [0xc6, 4]]), value)
  if (typeof value === 'string') {
    const text = utf8.encode(value)
    return join(head(text.length, 0xa0, 32, [[0xd9, 1], [0xda, 2], [0xdb, 4]]), text)
  }
  if (Array.isArray(value)) return join(head(value.length, 0x90, 16, [[0xdc, 2], [0xdd, 4]]), ...value.map(pack))
  const keys = Object.keys(value).sort(order)
  return join(head(keys.length, 0x80, 16, [[0xde, 2], [0xdf, 4]]), ...keys.flatMap(key => [pack(key), pack(value[key])]))
}

class Reader {
  #bytes
  at = 0
  constructor (bytes) { this.#bytes = bytes }
  take (size) {
    if (this.at + size > this.#bytes.length) throw new Error('msgpack that ends too early')
    return this.#bytes.slice(this.at, this.at += size)
  }

  text (size) { return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.take(size)) }
  list (size) { return Array.from({ length: size }, () => this.value()) }
  map (size) { return Object.fromEntries(Array.from({ length: size }, () => [this.value(), this.value()])) }
  value () {
    const code = number(this.take(1))
    const sized = from => number(this.take(2 ** (code - from)))
    if (code < 0x80) return code
    if (code < 0x90) return this.map(code & 15)
    if (code < 0xa0) return this.list(code & 15)
    if (code < 0xc0) return this.text(code & 31)
    if (code === 0xc2 || code === 0xc3) return code === 0xc3
    if (code >= 0xc4 && code <= 0xc6) return this.take(sized(0xc4))
    if (code >= 0xcc && code <= 0xcf) return sized(0xcc)
    if (code >= 0xd9 && code <= 0xdb) return this.text(sized(0xd9))
    if (code === 0xdc || code === 0xdd) return this.list(sized(0xdc - 1))
    if (code === 0xde || code === 0xdf) return this.map(sized(0xde - 1))
    throw new Error('a value that the wire does not know')
  }
}

/** The one value in canonical bytes; everything else throws. */
export function unpack (bytes) {
  const value = new Reader(bytes).value()
  if (!same(pack(value), bytes)) throw new Error('not the canonical encoding')
  return value
}

// Keys.

async function hkdf (key, salt, info, size = 32) {
  const material = await crypto.subtle.importKey('raw', key, 'HKDF', false, ['deriveBits'])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, material, size * 8))
}

const none = new Uint8Array()
export const derive = (key, purpose, salt = none, size = 32) => hkdf(key, salt, utf8.encode(`warmline/1/${purpose}`), size)
export const firstKey = (secret, random) => derive(secret, 'outer first', random)
export const nextKey = (key, exporter) => derive(key, 'outer next', exporter)
export const digestOf = key => derive(key, 'outer digest', none, 16)

// Cells.

async function cipher (key, label, salt) {
  return chacha20poly1305(await derive(key, `cell ${label}`, salt), new Uint8Array(12))
}

export const random = size => crypto.getRandomValues(new Uint8Array(size))

/** `bundle`: kind, epoch, counter, id (8 bytes), payload; as many cells as 1, 2, 4, 8 or 16 hold. */
export async function sealCells (bundle, key, label, salts = undefined) {
  const count = BUNDLES.find(each => bundle.payload.length <= each * PAYLOAD)
  if (count === undefined) throw new Error('too long for sixteen cells')
  const cells = []
  for (let index = 0; index < count; index++) {
    const part = bundle.payload.slice(index * PAYLOAD, (index + 1) * PAYLOAD)
    const header = join(new Uint8Array([1, bundle.kind]), big(bundle.epoch, 4), big(bundle.counter, 8), bundle.id,
      new Uint8Array([index, count]), big(part.length, 2))
    const body = join(header, part, new Uint8Array(PAYLOAD - part.length))
    const salt = salts?.[index] ?? random(SALT)
    cells.push(join(salt, (await cipher(key, label, salt)).encrypt(body)))
  }
  return cells
}

export async function openCell (cell, key, label) {
  if (cell.length !== CELL) throw new Error('not a cell')
  const salt = cell.slice(0, SALT)
  const body = (await cipher(key, label, salt)).decrypt(cell.slice(SALT))
  const [kind, index, count] = [body[1], body[22], body[23]]
  const length = number(body.slice(24, HEADER))
  if (body[0] !== 1 || kind > 3 || !BUNDLES.includes(count) || index >= count || length > PAYLOAD) {
    throw new Error('a cell header that the protocol does not know')
  }
  const [epoch, counter] = [number(body.slice(2, 6)), number(body.slice(6, 14))]
  return { kind, epoch, counter, bundle: body.slice(14, 22), index, count, data: body.slice(HEADER, HEADER + length) }
}

/** Whole bundles in cells that came in any order, each once; what this key does not open is passed over. */
export async function openCells (cells, key, label) {
  const bundles = new Map()
  for (const cell of cells) {
    const part = await openCell(cell, key, label).catch(() => undefined)
    if (part === undefined) continue
    const id = part.bundle.join()
    if (!bundles.has(id)) bundles.set(id, new Map())
    bundles.get(id).set(part.index, part)
  }
  return [...bundles.values()].flatMap(parts => {
    const first = parts.values().next().value
    if (parts.size < first.count) return []
    const data = Array.from({ length: first.count }, (_, index) => parts.get(index).data)
    return [{ kind: first.kind, epoch: first.epoch, counter: first.counter, payload: join(...data) }]
  })
}

// Envelopes.

export async function sealTo (publicKey, plaintext, purpose) {
  const recipientPublicKey = await suite.kem.deserializePublicKey(publicKey)
  const sender = await suite.createSenderContext({ recipientPublicKey, info: utf8.encode(`warmline/1/${purpose}`) })
  return join(new Uint8Array(sender.enc), new Uint8Array(await sender.seal(plaintext)))
}

export async function openWith (seed, sealed, purpose) {
  const recipientKey = await suite.kem.deserializePrivateKey(seed)
  const enc = sealed.slice(0, 1120)
  const recipient = await suite.createRecipientContext({ recipientKey, enc, info: utf8.encode(`warmline/1/${purpose}`) })
  return new Uint8Array(await recipient.open(sealed.slice(1120)))
}

export async function oneUseKey () {
  const pair = await suite.kem.generateKeyPair()
  const [seed, publicKey] = [await suite.kem.serializePrivateKey(pair.privateKey), await suite.kem.serializePublicKey(pair.publicKey)]
  return { seed: new Uint8Array(seed), publicKey: new Uint8Array(publicKey) }
}

export async function sealHello (hello, contact) {
  const body = pack({ t: 'hello', ...hello })
  if (body.length + 2 > HELLO_BODY) throw new Error('a Hello is one cell')
  return sealTo(contact, join(big(body.length, 2), body, new Uint8Array(HELLO_BODY - 2 - body.length)), 'hello')
}

export async function openHello (cell, seed) {
  const padded = await openWith(seed, cell, 'hello')
  return unpack(padded.slice(2, 2 + number(padded.slice(0, 2))))
}

// What the supporter signs.

async function signed (publicKey, domain, payload, signature) {
  const key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify'])
  return crypto.subtle.verify('Ed25519', key, signature, join(utf8.encode(`warmline/1/${domain}\0`), payload))
}

export async function checkStatement (welcome, hello, group, leafKey) {
  const said = pack([await sha256(hello.key_package), group, leafKey, hello.nonce, welcome.chain])
  return signed(welcome.supporter, 'session-statement', said, welcome.statement)
}

export async function checkEvidence (supporter, chain, inner) {
  const { previous, salt, signature } = inner.evidence
  const line = pack([chain, inner.counter, previous, await sha256(join(salt, inner.body))])
  return signed(supporter, 'session-message', line, signature)
}
