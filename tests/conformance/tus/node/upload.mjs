// Uploads a file with tus-js-client: node upload.mjs HOW URL TOKEN FILE PATH [STATE]
// HOW: whole, chunks, deferred, parallel; stop (abort after some chunks) and resume (of what stop left in STATE).
import fs from 'node:fs'
import { PassThrough } from 'node:stream'
import * as tus from 'tus-js-client'

const [how, endpoint, token, file, path, state] = process.argv.slice(2)
const size = fs.statSync(file).size
const options = {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { path, filename: 'ignored.bin', filetype: 'application/x-node' },
  retryDelays: [0, 100, 500],
  urlStorage: state ? new tus.FileUrlStorage(state) : undefined,
  storeFingerprintForResuming: Boolean(state),
  fingerprint: async () => `skep-${path}`,
  onError(error) { console.error(String(error)); process.exit(1) },
  onSuccess() { console.log(JSON.stringify({ url: upload.url })) },
}
if (how === 'chunks' || how === 'stop' || how === 'deferred') options.chunkSize = 1 << 20
if (how === 'deferred') options.uploadLengthDeferred = true
if (how === 'parallel') { options.parallelUploads = 4; options.metadataForPartialUploads = {} }
options.onChunkComplete = async (_, accepted) => {
  if (how === 'stop' && accepted >= size / 2) {
    await upload.abort()
    console.log(JSON.stringify({ url: upload.url, accepted }))
  }
}
// A pipe has no length; a file's own stream would be read by its path.
const source = {
  deferred: () => fs.createReadStream(file).pipe(new PassThrough()),
  parallel: () => fs.readFileSync(file),
}[how] ?? (() => fs.createReadStream(file))
const upload = new tus.Upload(source(), options)
if (how === 'resume') {
  const [previous] = await upload.findPreviousUploads()
  if (!previous) { console.error('nothing to resume'); process.exit(2) }
  upload.resumeFromPreviousUpload(previous)
}
upload.start()
