// One JSON object a line in, one a line out. `engine.<call>` is ts-mls by itself (mls.mjs); `seeker.<call>` is a whole
// seeker that shares no code with ours: Hello, Welcome, statement, cells and MLS; `outer.<call>` answers for the vectors;
// `feedback.<call>` has a token signed and rates.
import { createInterface } from 'node:readline'
import { Engine, hex, raw } from './mls.mjs'
import * as outer from './outer.mjs'
import * as rating from './feedback.mjs'

const engine = new Engine()

class Seeker {
  #seen = new Set()
  #counter = 0

  async hello ({ contact, replies, id }) {
    this.candidate = await engine.candidate({ id })
    this.kem = await outer.oneUseKey()
    this.hello_ = {
      attempt: outer.random(16), key_package: raw(this.candidate.package), kem: this.kem.publicKey, nonce: outer.random(32),
      reply_secret: outer.random(32), replies: replies.map(raw), name: 'River', avatar: new Uint8Array(16), line: 'hi', listing: new Uint8Array()
    }
    return { cell: hex(await outer.sealHello(this.hello_, raw(contact))) }
  }

  async welcome ({ cells, supporter }) {
    const key = await outer.derive(this.hello_.reply_secret, 'answer')
    const [bundle] = await outer.openCells(cells.map(raw), key, 'answer')
    const accepted = outer.unpack(bundle.payload)
    if (accepted.t !== 'accepted' || !outer.same(accepted.attempt, this.hello_.attempt)) throw new Error('not accepted')
    const welcome = outer.unpack(await outer.openWith(this.kem.seed, accepted.envelope, 'welcome'))
    if (hex(welcome.supporter) !== supporter) throw new Error('not the person on the card')
    this.group = await engine.join({ candidate: this.candidate.handle, welcome: hex(welcome.mls) })
    const { members } = await engine.roster({ handle: this.group.handle })
    this.host = members.find(each => each.id === hex(welcome.host))
    const proven = await outer.checkStatement(welcome, this.hello_, raw(this.group.group), raw(this.host.key))
    if (!proven) throw new Error('a statement that does not verify')
    this.keys = [{ epoch: welcome.epoch, key: welcome.outer_key }]
    this.terms = welcome
    return { name: welcome.name, queues: welcome.queues.map(hex) }
  }

  get #now () { return this.keys[this.keys.length - 1] }

  /** Everything new in the cells; commits are applied, evidence is checked. */
  async read ({ cells }) {
    const heard = []
    for (const { epoch, key } of this.keys.slice(-2)) {
      for (const bundle of await outer.openCells(cells.map(raw), key, 'to guest')) {
        const name = `${bundle.epoch} ${bundle.counter} ${hex(bundle.payload)}`
        if (bundle.epoch !== epoch || this.#seen.has(name)) continue
        this.#seen.add(name)
        heard.push(bundle.kind === 1 ? await this.#commit(bundle) : await this.#said(bundle))
      }
    }
    return { heard }
  }

  async #commit (bundle) {
    const { handle } = this.group
    await engine.process({ handle, commit: hex(bundle.payload), committer: this.host })
    const { secret } = await engine.export({ handle, label: hex(outer.EXPORTER_LABEL), context: '', size: 32 })
    this.keys.push({ epoch: this.#now.epoch + 1, key: await outer.nextKey(this.#now.key, raw(secret)) })
    return { kind: 'commit', counter: bundle.counter, digest: hex(await outer.digestOf(this.#now.key)) }
  }

  async #said (bundle) {
    const opened = await engine.open({ handle: this.group.handle, message: hex(bundle.payload) })
    if (opened.sender.id !== this.host.id) throw new Error('somebody else spoke')
    const inner = outer.unpack(raw(opened.data))
    if (!await outer.checkEvidence(this.terms.supporter, this.terms.chain, inner)) throw new Error('evidence')
    return { kind: 'said', counter: inner.counter, body: hex(inner.body) }
  }

  /** Cells of one message; `body` is a wire message as a map, `counter` false for what needs no number. */
  async say ({ body, numbered = true, now }) {
    const counter = numbered ? ++this.#counter : 0
    const inner = outer.pack({
      t: 'inner', id: outer.random(16), counter, floor: 1, sent_ms: now, body: outer.pack(body)
    })
    const { message } = await engine.seal({ handle: this.group.handle, data: hex(inner) })
    const bundle = { kind: 0, epoch: this.#now.epoch, counter, id: outer.random(8), payload: raw(message) }
    return { cells: (await outer.sealCells(bundle, this.#now.key, 'to host')).map(hex) }
  }
}

const vectors = {
  async seal ({ kind, epoch, counter, bundle, payload, key, label, salts }) {
    const whole = { kind, epoch, counter, id: raw(bundle), payload: raw(payload) }
    return { cells: (await outer.sealCells(whole, raw(key), label, salts.map(raw))).map(hex) }
  },
  async open ({ cells, key, label }) {
    const bundles = await outer.openCells(cells.map(raw), raw(key), label)
    return { bundles: bundles.map(each => ({ ...each, payload: hex(each.payload) })) }
  },
  async first ({ secret, random }) { return { key: hex(await outer.firstKey(raw(secret), raw(random))) } },
  async next ({ key, exporter }) { return { key: hex(await outer.nextKey(raw(key), raw(exporter))) } },
  async derive ({ key, purpose, size }) { return { key: hex(await outer.derive(raw(key), purpose, undefined, size)) } },
  async sealTo ({ key, data, purpose }) { return { sealed: hex(await outer.sealTo(raw(key), raw(data), purpose)) } },
  async openWith ({ seed, sealed, purpose }) { return { data: hex(await outer.openWith(raw(seed), raw(sealed), purpose)) } },
  async hello ({ cell, seed }) { return { hello: hex(outer.pack(await outer.openHello(raw(cell), raw(seed)))) } },
  async again ({ data }) { return { data: hex(outer.pack(outer.unpack(raw(data)))) } },
  async statement ({ hello, welcome, group, leafKey }) {
    return { good: await outer.checkStatement(outer.unpack(raw(welcome)), outer.unpack(raw(hello)), raw(group), raw(leafKey)) }
  },
  async evidence ({ supporter, chain, counter, body, salt, previous, signature }) {
    const evidence = { previous: raw(previous), salt: raw(salt), signature: raw(signature) }
    return { good: await outer.checkEvidence(raw(supporter), raw(chain), { counter, body: raw(body), evidence }) }
  }
}

let asking
const feedback = {
  async begin ({ grant, supporter, keyRoot, epoch }) {
    asking = await rating.Asking.begin(raw(grant), raw(supporter), raw(keyRoot), epoch)
    return { blinded: hex(asking.blinding.blindedMsg) }
  },
  async finish ({ signed }) {
    await asking.finish(raw(signed))
    return {}
  },
  async rate ({ again, genesis, length, collector }) {
    const said = await asking.rate(again, genesis, length)
    return { rating: hex(said), cell: hex(await rating.sealRating(said, raw(collector))) }
  },
  async open ({ cell, seed }) { return { rating: hex(await rating.openRating(raw(cell), raw(seed))) } },
  async sign ({ jwk, blinded }) { return { signed: hex(await rating.blindSign(jwk, raw(blinded))) } },
  async tree ({ kind, root, wallet, value, proof }) {
    return { good: await rating.checkTree(kind, raw(root), raw(wallet), raw(value), proof.map(raw)) }
  }
}

const seekers = new Map()
const parts = {
  engine: () => engine,
  outer: () => vectors,
  feedback: () => feedback,
  seeker: ({ who }) => {
    if (!seekers.has(who)) seekers.set(who, new Seeker())
    return seekers.get(who)
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...fields } = JSON.parse(line)
  const [part, name] = call.split('.')
  let answer
  try {
    answer = await parts[part](fields)[name](fields)
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
