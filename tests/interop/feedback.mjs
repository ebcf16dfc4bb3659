// The seeker's side of feedback as protocol/feedback.md says it: the grant under the root, a blind token by
// @cloudflare/blindrsa-ts, one answer through chance, one sealed cell. Shares no code with the Python client.
import { RSABSSA } from '@cloudflare/blindrsa-ts'
import { join, openWith, pack, random, same, sealTo, sha256, unpack } from './outer.mjs'

const utf8 = new TextEncoder()
const suite = RSABSSA.SHA384.PSS.Randomized()
const BODY = 4096 - 1120 - 16
const SLOTS = 84
const LATE = 8
const bit = (path, depth) => path[depth >> 3] >> (7 - depth % 8) & 1

export async function checkTree (kind, root, wallet, value, beside) {
  const path = await sha256(join(utf8.encode('warmline/1/feedback path\0'), wallet))
  let found = await sha256(join(new Uint8Array([0]), path, value))
  for (let depth = beside.length - 1; depth >= 0; depth--) {
    const [left, right] = bit(path, depth) ? [beside[depth], found] : [found, beside[depth]]
    found = await sha256(join(new Uint8Array([1]), left, right))
  }
  return same(await sha256(join(utf8.encode(`warmline/1/feedback ${kind}\0`), found)), root)
}

export async function checkGrant (grant, keyRoot) {
  const value = pack([grant.issuer, grant.epoch, grant.count, await sha256(grant.modulus)])
  return checkTree('keys', keyRoot, grant.supporter, value, grant.proof)
}

const base64url = bytes => Buffer.from(bytes).toString('base64url')

async function publicKey (modulus) {
  const jwk = { kty: 'RSA', n: base64url(modulus), e: 'AQAB', ext: true }
  return crypto.subtle.importKey('jwk', jwk, { name: 'RSA-PSS', hash: 'SHA-384' }, true, ['verify'])
}

/** A number below `bound`, by rejection. */
function below (bound) {
  for (;;) {
    const [byte] = random(1)
    if (byte < 256 - 256 % bound) return byte % bound
  }
}

export class Asking {
  static async begin (grantBytes, supporter, keyRoot, epoch) {
    const grant = unpack(grantBytes)
    if (!same(grant.supporter, supporter) || grant.epoch !== epoch) throw new Error('a grant for another')
    if (!await checkGrant(grant, keyRoot)) throw new Error('a grant that the root does not hold')
    const made = new Asking()
    made.grant = grant
    made.pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])
    made.serial = new Uint8Array(await crypto.subtle.exportKey('raw', made.pair.publicKey))
    const message = pack(['warmline/1/token', grant.issuer, grant.supporter, grant.epoch, made.serial])
    made.prepared = suite.prepare(message)
    made.key = await publicKey(grant.modulus)
    made.blinding = await suite.blind(made.key, made.prepared)
    return made
  }

  async finish (signed) {
    this.token = await suite.finalize(this.key, this.prepared, signed, this.blinding.inv)
  }

  async rate (again, genesis, length) {
    const { t, ...grant } = this.grant
    const said = below(5) === 0 ? !again : again
    const slot = below(SLOTS - LATE)
    const notBefore = genesis + grant.epoch * length + Math.floor(slot * length / SLOTS)
    const answer = pack([grant.issuer, grant.supporter, grant.epoch, said])
    const bound = join(utf8.encode('warmline/1/rating\0'), answer)
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', this.pair.privateKey, bound))
    return pack({
      t: 'rating', grant, serial: this.serial, prefix: this.prepared.slice(0, 32), token: this.token, again: said, not_before_s: notBefore, signature
    })
  }
}

export function sealRating (rating, collector) {
  const size = new Uint8Array([rating.length >> 8, rating.length & 255])
  return sealTo(collector, join(size, rating, new Uint8Array(BODY - 2 - rating.length)), 'rating')
}

export async function openRating (cell, seed) {
  const padded = await openWith(seed, cell, 'rating')
  return padded.slice(2, 2 + padded[0] * 256 + padded[1])
}

/** The issuer's side, for the other direction. `jwk` is a whole private key. */
export async function blindSign (jwk, blinded) {
  const key = await crypto.subtle.importKey('jwk', jwk, { name: 'RSA-PSS', hash: 'SHA-384' }, true, ['sign'])
  return suite.blindSign(key, blinded)
}
