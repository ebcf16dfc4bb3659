// js-libp2p uses Promise.withResolvers, which Node has from version 22 on; this keeps Node 20 usable.
Promise.withResolvers ??= function withResolvers() {
  let resolve, reject
  const promise = new this((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
