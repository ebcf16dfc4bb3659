// ts-mls behind the seam that sessions use (protocol/warmline_protocol/session/mls.py): the same calls, states kept here
// under numbers, bytes in hex. Suite 0x0001; only the expected member commits; the epoch before stays until it is forgotten.
import {
  createApplicationMessage, createCommit, createGroup, createProposal, decodeGroupState, decodeMlsMessage,
  defaultKeyPackageEqualityConfig, defaultPaddingConfig, emptyPskIndex, encodeGroupState, encodeMlsMessage,
  generateKeyPackage, getCiphersuiteFromName, getCiphersuiteImpl, joinGroup, mlsExporter, processMessage,
} from 'ts-mls'
import { unprotectPrivateMessage } from 'ts-mls/messageProtection.js'
import { encodeRatchetTree } from 'ts-mls/ratchetTree.js'

export const hex = bytes => Buffer.from(bytes).toString('hex')
export const raw = text => new Uint8Array(Buffer.from(text, 'hex'))

const SUITE = 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519'
const DAY_S = 86400n
const suites = new Map()

const config = {
  // Cells arrive in any order: as many generations are kept and skipped as the other engine keeps and skips.
  keyRetentionConfig: { retainKeysForGenerations: 1024, retainKeysForEpochs: 1, maximumForwardRatchetSteps: 1024 },
  lifetimeConfig: { maximumTotalLifetime: 400n * DAY_S, validateLifetimeOnReceive: true },
  keyPackageEqualityConfig: defaultKeyPackageEqualityConfig,
  paddingConfig: defaultPaddingConfig,
  authService: {
    // How long an identity is, and that nobody is in twice, is checked on the other side of the seam.
    async validateCredential (credential, key) {
      return credential.credentialType === 'basic' && key.length === 32
    }
  }
}

async function suite (name = SUITE) {
  if (!suites.has(name)) suites.set(name, await getCiphersuiteImpl(getCiphersuiteFromName(name)))
  return suites.get(name)
}

function capabilities (name) {
  return { versions: ['mls10'], ciphersuites: [name], extensions: [], proposals: [], credentials: ['basic'] }
}

function around (now) {
  return { notBefore: now - DAY_S, notAfter: now + 90n * DAY_S }
}

/** A key package and its private half. `with` spoils it on purpose: another suite, another lifetime, an x509 credential. */
async function package_ (id, { cipher = SUITE, notBefore, notAfter } = {}) {
  const life = around(BigInt(Math.floor(Date.now() / 1000)))
  if (notBefore !== undefined) life.notBefore = BigInt(notBefore)
  if (notAfter !== undefined) life.notAfter = BigInt(notAfter)
  const credential = { credentialType: 'basic', identity: raw(id) }
  return generateKeyPackage(credential, capabilities(cipher), life, [], await suite(cipher))
}

const message = content => encodeMlsMessage({ version: 'mls10', ...content })
const keyPackageBytes = keyPackage => message({ wireformat: 'mls_key_package', keyPackage })

function parse (text, wireformat) {
  const bytes = raw(text)
  const decoded = decodeMlsMessage(bytes, 0)
  if (decoded === undefined || decoded[1] !== bytes.length) throw new Error('not one whole MLS message')
  if (!wireformat.includes(decoded[0].wireformat)) throw new Error(`a ${decoded[0].wireformat}`)
  return decoded[0]
}

function leaves (tree) {
  return tree.flatMap((node, index) => index % 2 === 0 && node !== undefined ? [{ leaf: node.leaf, index: index / 2 }] : [])
}

function leafOf (tree, member) {
  const found = leaves(tree).find(each =>
    hex(each.leaf.credential.identity) === member.id && hex(each.leaf.signaturePublicKey) === member.key)
  if (found === undefined) throw new Error('nobody in this group')
  return found.index
}

function memberAt (tree, index) {
  const leaf = tree[index * 2]?.leaf
  if (leaf === undefined) throw new Error('a sender who is no member')
  return { id: hex(leaf.credential.identity), key: hex(leaf.signaturePublicKey) }
}

/** Groups and candidates by number. Every call leaves the state as it was when it throws. */
export class Engine {
  #candidates = new Map()
  #groups = new Map()
  #next = 1

  #keep (where, value) {
    where.set(this.#next, value)
    return this.#next++
  }

  #group (number) {
    const state = this.#groups.get(number)
    if (state === undefined) throw new Error('no such group')
    return state
  }

  #facts (number) {
    const state = this.#group(number)
    return {
      handle: number,
      group: hex(state.groupContext.groupId),
      tree: hex(encodeRatchetTree(state.ratchetTree)),
      me: memberAt(state.ratchetTree, state.privatePath.leafIndex)
    }
  }

  async candidate ({ id, ...spoilt }) {
    const made = await package_(id, spoilt)
    return { handle: this.#keep(this.#candidates, made), package: hex(keyPackageBytes(made.publicPackage)) }
  }

  async create ({ id, group }) {
    const { publicPackage, privatePackage } = await package_(id)
    const state = await createGroup(raw(group), publicPackage, privatePackage, [], await suite(), config)
    return this.#facts(this.#keep(this.#groups, state))
  }

  async join ({ candidate, welcome }) {
    const mine = this.#candidates.get(candidate)
    if (mine === undefined) throw new Error('a candidate that has joined already')
    const parsed = parse(welcome, ['mls_welcome']).welcome
    const state = await joinGroup(
      parsed, mine.publicPackage, mine.privatePackage, emptyPskIndex, await suite(), undefined, undefined, config)
    this.#candidates.delete(candidate)
    return this.#facts(this.#keep(this.#groups, state))
  }

  async roster ({ handle }) {
    const tree = this.#group(handle).ratchetTree
    return { members: leaves(tree).map(each => memberAt(tree, each.index)) }
  }

  async export ({ handle, label, context, size }) {
    const secret = this.#group(handle).keySchedule.exporterSecret
    const text = Buffer.from(label, 'hex').toString('utf8')
    return { secret: hex(await mlsExporter(secret, text, raw(context), size, await suite())) }
  }

  async seal ({ handle, data }) {
    const { newState, privateMessage } = await createApplicationMessage(this.#group(handle), raw(data), await suite())
    this.#groups.set(handle, newState)
    return { message: hex(message({ wireformat: 'mls_private_message', privateMessage })) }
  }

  // Not processPrivateMessage: that one does not say who spoke.
  async open ({ handle, message: text }) {
    const state = this.#group(handle)
    const { privateMessage } = parse(text, ['mls_private_message'])
    if (hex(privateMessage.groupId) !== hex(state.groupContext.groupId)) throw new Error('another group')
    if (privateMessage.contentType !== 'application') throw new Error('not an application message')
    const now = privateMessage.epoch === state.groupContext.epoch
    const past = state.historicalReceiverData.get(privateMessage.epoch)
    if (!now && past === undefined) throw new Error('an epoch whose keys are not here')
    const epoch = now ? { ...state, senderDataSecret: state.keySchedule.senderDataSecret } : past
    const opened = await unprotectPrivateMessage(epoch.senderDataSecret, privateMessage, epoch.secretTree,
      epoch.ratchetTree, epoch.groupContext, config.keyRetentionConfig, await suite())
    if (now) {
      this.#groups.set(handle, { ...state, secretTree: opened.tree })
    } else {
      const history = new Map(state.historicalReceiverData)
      history.set(privateMessage.epoch, { ...past, secretTree: opened.tree })
      this.#groups.set(handle, { ...state, historicalReceiverData: history })
    }
    const { content } = opened.content
    return { sender: memberAt(epoch.ratchetTree, content.sender.leafIndex), data: hex(content.applicationData) }
  }

  async #commit (handle, extraProposals) {
    const context = { state: this.#group(handle), cipherSuite: await suite() }
    const made = await createCommit(context, { extraProposals, ratchetTreeExtension: true })
    this.#groups.set(handle, made.newState)
    const welcome = made.welcome === undefined ? '' : hex(message({ wireformat: 'mls_welcome', welcome: made.welcome }))
    return { commit: hex(encodeMlsMessage(made.commit)), welcome, ...this.#facts(handle) }
  }

  async add ({ handle, packages }) {
    const adds = packages.map(each => ({
      proposalType: 'add', add: { keyPackage: parse(each, ['mls_key_package']).keyPackage }
    }))
    return this.#commit(handle, adds)
  }

  async remove ({ handle, members }) {
    const tree = this.#group(handle).ratchetTree
    return this.#commit(handle, members.map(each => ({ proposalType: 'remove', remove: { removed: leafOf(tree, each) } })))
  }

  async refresh ({ handle }) {
    return this.#commit(handle, [])
  }

  /** A proposal outside a commit, which no session sends: for tests of who refuses it. */
  async propose ({ handle, open, member }) {
    const state = this.#group(handle)
    const proposal = { proposalType: 'remove', remove: { removed: leafOf(state.ratchetTree, member) } }
    const made = await createProposal(state, open, proposal, await suite())
    this.#groups.set(handle, made.newState)
    return { message: hex(encodeMlsMessage(made.message)) }
  }

  async process ({ handle, commit, committer }) {
    const state = this.#group(handle)
    const parsed = parse(commit, ['mls_private_message', 'mls_public_message'])
    const expected = leafOf(state.ratchetTree, committer)
    const judge = what => what.kind === 'commit' && what.senderLeafIndex === expected ? 'accept' : 'reject'
    const result = await processMessage(parsed, state, emptyPskIndex, judge, await suite())
    if (result.kind !== 'newState' || result.actionTaken !== 'accept') throw new Error('nobody may commit that here')
    this.#groups.set(handle, result.newState)
    if (result.newState.groupActiveState.kind !== 'active') return { removed: true }
    return { removed: false, ...this.#facts(handle) }
  }

  async forget ({ handle }) {
    this.#groups.set(handle, { ...this.#group(handle), historicalReceiverData: new Map() })
    return {}
  }

  async snapshot ({ handle }) {
    return { state: hex(encodeGroupState(this.#group(handle))) }
  }

  async restore ({ state }) {
    const decoded = decodeGroupState(raw(state), 0)
    if (decoded === undefined) throw new Error('not a saved group')
    return this.#facts(this.#keep(this.#groups, { ...decoded[0], clientConfig: config }))
  }

  async drop ({ handles }) {
    for (const each of handles) this.#groups.delete(each)
    return {}
  }
}
