// node emotions.mjs NETWORK PICTURES SIDE OUT: what a network on npm says of gray pictures, prepared as its own package prepares a face.
//
// PICTURES holds N x SIDE x SIDE bytes; OUT gets N x 7 float32 (little-endian), in the order of the network's labels. The last line of standard output is
// one JSON object: the labels, the file of the weights, and the versions.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { graphModelOnDisk, packagesIn } from './packages.mjs'

const { require, folderOf, wasmFolder } = packagesIn(process.cwd())
const tf = require('@tensorflow/tfjs')
const wasm = require('@tensorflow/tfjs-backend-wasm')
const BATCH = 32

// @vladmandic/human, src/gear/emotion.ts: bilinear to 64x64, gray from 0 to 1, then (x - 0.5) * 2; the graph ends in a softmax.
async function human () {
  const { handler, weightFiles: [file] } = graphModelOnDisk(join(folderOf('@vladmandic/human'), 'models', 'emotion.json'))
  const model = await tf.loadGraphModel(handler)
  const read = (gray) => model.execute(tf.mul(tf.sub(tf.div(tf.image.resizeBilinear(gray, [64, 64], false), 255), 0.5), 2))
  return { file, read, labels: ['angry', 'disgusted', 'afraid', 'happy', 'sad', 'surprised', 'neutral'] }
}

// @vladmandic/face-api: its own code resizes to 112x112, takes the mean colour away, and ends in a softmax.
async function faceApi () {
  const folder = join(folderOf('@vladmandic/face-api'), 'model')
  const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js')
  await faceapi.tf.setBackend('wasm')
  await faceapi.tf.ready()
  await faceapi.nets.faceExpressionNet.loadFromDisk(folder)
  const read = (gray) => tf.tidy(() => {
    const rgb = tf.unstack(tf.tile(gray, [1, 1, 1, 3]))
    return faceapi.nets.faceExpressionNet.forwardInput(new faceapi.NetInput(rgb))
  })
  return { file: join(folder, 'face_expression_model.bin'), read, labels: ['neutral', 'happy', 'sad', 'angry', 'afraid', 'disgusted', 'surprised'] }
}

const [network, pictures, side, out] = process.argv.slice(2)
wasm.setWasmPaths(wasmFolder)
wasm.setThreadsCount(1)
await tf.setBackend('wasm')
await tf.ready()
const { file, read, labels } = await { human, 'face-api': faceApi }[network]()
const bytes = readFileSync(pictures)
const area = Number(side) ** 2
const scores = []
for (let start = 0; start < bytes.length / area; start += BATCH) {
  const part = bytes.subarray(start * area, (start + BATCH) * area)
  const answer = tf.tidy(() => read(tf.tensor4d(Float32Array.from(part), [part.length / area, Number(side), Number(side), 1])))
  scores.push(...await answer.data())
  answer.dispose()
}
writeFileSync(out, Buffer.from(Float32Array.from(scores).buffer))
const version = (name) => JSON.parse(readFileSync(join(folderOf(name), 'package.json'))).version
console.log(JSON.stringify({ labels, file, tfjs: version('@tensorflow/tfjs'), backend: tf.getBackend() }))
